// SPDX-License-Identifier: Apache-2.0
using System;
using System.Drawing;
using System.Globalization;
using System.Windows.Forms;

namespace YoloQ.WinForms.Views
{
    /// <summary>A threshold: name and value above, the track below. Mouse, wheel and arrow keys move it.</summary>
    public sealed class Slider : FocusControl
    {
        private string _key;
        private readonly float _low, _high;
        private float _value;
        private bool _dragging;

        public Slider(string name, string key, float low, float high) : base(name)
        {
            _key = key;
            _low = low;
            _high = high;
            _value = low;
            Dock = DockStyle.Fill;
        }

        /// <summary>The user moved it; setting <see cref="Value"/> does not raise it.</summary>
        public event EventHandler Moved;

        /// <summary>The user let it go.</summary>
        public event EventHandler Settled;

        public float Value
        {
            get { return _value; }
            set
            {
                float rounded = (float)Math.Round(Math.Max(_low, Math.Min(_high, value)), 2);
                if (rounded != _value)
                {
                    _value = rounded;
                    AccessibleDescription = rounded.ToString("0.00", CultureInfo.InvariantCulture);
                    Invalidate();
                }
            }
        }

        /// <summary>Shows another text.</summary>
        public void UseKey(string key)
        {
            if (_key != key)
            {
                _key = key;
                Invalidate();
            }
        }

        /// <summary>The track, in the control's coordinates: value low at its left end, high at its right.</summary>
        public Rectangle Track
        {
            get
            {
                int knob = Theme.Px(8), height = Theme.Px(4);
                return new Rectangle(knob, Height - Theme.Px(14), Math.Max(1, Width - 2 * knob), height);
            }
        }

        protected override void Draw(Graphics g)
        {
            Rectangle track = Track;
            var line = new Rectangle(0, 0, Width, track.Top - Theme.Px(6));
            Color ink = Enabled ? Theme.Text : Theme.Faint;
            DrawText(g, Texts.Get(_key), Theme.Body, line, Enabled ? Theme.Muted : Theme.Faint);
            DrawText(g, _value.ToString("0.00", CultureInfo.InvariantCulture), Theme.Font(13, true), line, ink, Align.Right);
            int x = track.Left + (int)(track.Width * (_value - _low) / (_high - _low));
            FillRound(g, track, track.Height / 2, Theme.FieldHover);
            Color accent = Enabled ? Theme.Accent : Theme.Faint;
            FillRound(g, new Rectangle(track.X, track.Y, Math.Max(track.Height, x - track.X), track.Height), track.Height / 2, accent);
            int knob = Theme.Px(_dragging ? 18 : 16);
            var place = new Rectangle(x - knob / 2, track.Y + track.Height / 2 - knob / 2, knob, knob);
            FillRound(g, place, knob / 2, Focused ? Theme.AccentHover : accent);
            place.Inflate(-Theme.Px(4), -Theme.Px(4));
            FillRound(g, place, knob / 2, Theme.OnColor);
        }

        protected override void OnMouseDown(MouseEventArgs e)
        {
            base.OnMouseDown(e);
            Focus();
            _dragging = e.Button == MouseButtons.Left;
            MoveTo(e.X);
        }

        protected override void OnMouseMove(MouseEventArgs e)
        {
            base.OnMouseMove(e);
            MoveTo(e.X);
        }

        protected override void OnMouseUp(MouseEventArgs e)
        {
            base.OnMouseUp(e);
            bool settled = _dragging;
            _dragging = false;
            Invalidate();
            if (settled && Settled != null)
            {
                Settled(this, EventArgs.Empty);
            }
        }

        protected override void OnMouseWheel(MouseEventArgs e)
        {
            base.OnMouseWheel(e);
            Nudge(e.Delta > 0 ? 0.01f : -0.01f);
        }

        protected override bool IsInputKey(Keys keyData)
        {
            return keyData == Keys.Left || keyData == Keys.Right || base.IsInputKey(keyData);
        }

        protected override void OnKeyDown(KeyEventArgs e)
        {
            base.OnKeyDown(e);
            if (e.KeyCode == Keys.Left || e.KeyCode == Keys.Right)
            {
                Nudge(e.KeyCode == Keys.Left ? -0.01f : 0.01f);
            }
        }

        private void Nudge(float by)
        {
            Set(_value + by);
            if (Settled != null)
            {
                Settled(this, EventArgs.Empty);
            }
        }

        private void MoveTo(int x)
        {
            if (_dragging && Enabled)
            {
                Set(_low + (_high - _low) * (x - Track.Left) / Track.Width);
            }
        }

        private void Set(float value)
        {
            float before = _value;
            Value = value;
            if (_value != before && Moved != null)
            {
                Moved(this, EventArgs.Empty);
            }
        }
    }
}
