// SPDX-License-Identifier: Apache-2.0
using System;
using System.Drawing;
using System.Windows.Forms;

namespace YoloQ.WinForms.Views
{
    public enum ButtonKind
    {
        Normal,
        /// <summary>The one thing to do here.</summary>
        Primary,
        /// <summary>Ends or stops something.</summary>
        Danger,
        /// <summary>No ground until the mouse is over it.</summary>
        Quiet
    }

    /// <summary>A flat button with an icon, a text, or both. Space and Enter press it when it has the focus.</summary>
    public sealed class FlatButton : FocusControl, IButtonControl
    {
        private readonly string _key;
        private bool _hover, _down;
        private Glyph _glyph;
        private ButtonKind _kind;
        private bool _on;

        /// <param name="key">of the text; "" for an icon alone</param>
        public FlatButton(string name, string key, Glyph icon = Glyph.None, ButtonKind kind = ButtonKind.Normal) : base(name)
        {
            _key = key;
            _glyph = icon;
            _kind = kind;
            Cursor = Cursors.Hand;
            Size = new Size(Theme.Px(32), Theme.Px(32));
            // Clicks are made in OnMouseUp: of two quick presses Windows makes one click, and Mono of presses on neighbours too.
            SetStyle(ControlStyles.StandardClick | ControlStyles.StandardDoubleClick, false);
            UpdateText();
        }

        public DialogResult DialogResult { get; set; }

        public Glyph Glyph
        {
            get { return _glyph; }
            set { Change(ref _glyph, value); }
        }

        public ButtonKind Kind
        {
            get { return _kind; }
            set { Change(ref _kind, value); }
        }

        /// <summary>Pressed in, for a choice that is in force.</summary>
        public bool On
        {
            get { return _on; }
            set { Change(ref _on, value); }
        }

        /// <summary>Another text than the key's, such as a chosen value; null: the key's.</summary>
        public string Caption { get; private set; }

        public void SetCaption(string caption)
        {
            if (Caption != caption)
            {
                Caption = caption;
                UpdateText();
            }
        }

        /// <summary>After a change of language.</summary>
        public void UpdateText()
        {
            Text = Caption ?? (_key.Length == 0 ? "" : Texts.Get(_key));
            AccessibleName = Text.Length > 0 ? Text : Name;
            Invalidate();
        }

        /// <summary>As wide as the text needs.</summary>
        public int NaturalWidth(Graphics g)
        {
            int text = Text.Length == 0 ? 0 : Measure(g, Text, Theme.Body).Width;
            int icon = _glyph == Glyph.None ? 0 : Theme.Px(16) + (text > 0 ? Theme.Px(6) : 0);
            return text + icon + Theme.Px(_key.Length > 0 || text > 0 ? 22 : 14);
        }

        public void NotifyDefault(bool value)
        {
        }

        public void PerformClick()
        {
            if (Enabled)
            {
                OnClick(EventArgs.Empty);
            }
        }

        protected override void OnClick(EventArgs e)
        {
            Form form = FindForm();
            if (form != null && DialogResult != DialogResult.None)
            {
                form.DialogResult = DialogResult;
            }
            base.OnClick(e);
        }

        protected override void Draw(Graphics g)
        {
            Color ground, ink;
            Colors(out ground, out ink);
            FillRound(g, new Rectangle(0, 0, Width, Height), Theme.Px(6), ground);
            if (Focused && ShowFocusCues)
            {
                DrawRound(g, new Rectangle(0, 0, Width, Height), Theme.Px(6), Theme.Accent);
            }
            int icon = Theme.Px(16), gap = Theme.Px(6);
            int text = Text.Length == 0 ? 0 : Math.Min(Measure(g, Text, Theme.Body).Width + 1, Width - Theme.Px(8));
            int all = text + (_glyph == Glyph.None ? 0 : icon + (text > 0 ? gap : 0));
            int x = Math.Max(Theme.Px(4), (Width - all) / 2);
            if (_glyph != Glyph.None)
            {
                Glyphs.Draw(g, _glyph, new Rectangle(x, (Height - icon) / 2, icon, icon), ink);
                x += icon + gap;
            }
            if (text > 0)
            {
                DrawText(g, Text, Theme.Body, new Rectangle(x, 0, Math.Min(text, Width - x - 1), Height), ink);
            }
        }

        protected override void OnMouseEnter(EventArgs e)
        {
            Change(ref _hover, true);
            base.OnMouseEnter(e);
        }

        protected override void OnMouseLeave(EventArgs e)
        {
            Change(ref _hover, false);
            base.OnMouseLeave(e);
        }

        protected override void OnMouseDown(MouseEventArgs e)
        {
            Change(ref _down, e.Button == MouseButtons.Left);
            Focus();
            base.OnMouseDown(e);
        }

        protected override void OnMouseUp(MouseEventArgs e)
        {
            bool pressed = _down;
            Change(ref _down, false);
            base.OnMouseUp(e);
            if (pressed && e.Button == MouseButtons.Left && ClientRectangle.Contains(e.Location))
            {
                PerformClick();
            }
        }

        protected override void OnKeyDown(KeyEventArgs e)
        {
            if (e.KeyCode == Keys.Space || e.KeyCode == Keys.Enter)
            {
                e.Handled = true;
                PerformClick();
            }
            base.OnKeyDown(e);
        }

        private void Colors(out Color ground, out Color ink)
        {
            bool colored = _kind == ButtonKind.Primary || _kind == ButtonKind.Danger;
            Color basis = _kind == ButtonKind.Primary ? Theme.Accent : _kind == ButtonKind.Danger ? Theme.Bad
                : _kind == ButtonKind.Quiet && !_hover && !_on ? Surround : Theme.FieldOn(Surround);
            ground = _on ? Theme.Mix(Surround, Theme.Accent, 0.25) : basis;
            ink = colored ? Theme.OnColor : _on ? Theme.Accent : Theme.Text;
            if (!Enabled)
            {
                ground = Theme.Mix(_kind == ButtonKind.Quiet ? Surround : Theme.FieldOn(Surround), Surround, 0.5);
                ink = Theme.Faint;
            }
            else if (_down)
            {
                ground = Theme.Mix(ground, Theme.Window, 0.3);
            }
            else if (_hover)
            {
                ground = Theme.Mix(ground, colored ? Color.White : Theme.FieldHover, colored ? 0.12 : 0.8);
            }
        }

        private void Change<T>(ref T field, T value)
        {
            if (!Equals(field, value))
            {
                field = value;
                Invalidate();
            }
        }
    }
}
