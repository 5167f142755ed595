// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.Drawing;
using System.Globalization;
using System.Windows.Forms;

namespace YoloQ.WinForms.Views
{
    /// <summary>A switch with its text at the right.</summary>
    public sealed class Toggle : FocusControl
    {
        private readonly string _key;
        private bool _checked;

        public Toggle(string name, string key) : base(name)
        {
            _key = key;
            Cursor = Cursors.Hand;
            Size = new Size(Theme.Px(200), Theme.Px(28));
        }

        public event EventHandler Changed;

        public bool Checked
        {
            get { return _checked; }
            set
            {
                _checked = value;
                AccessibleDescription = value ? "on" : "off";
                Invalidate();
            }
        }

        protected override void Draw(Graphics g)
        {
            var track = new Rectangle(0, (Height - Theme.Px(20)) / 2, Theme.Px(36), Theme.Px(20));
            FillRound(g, track, track.Height / 2, _checked ? Theme.Accent : Theme.FieldHover);
            int knob = Theme.Px(14), gap = Theme.Px(3);
            int x = _checked ? track.Right - knob - gap : track.Left + gap;
            FillRound(g, new Rectangle(x, track.Top + gap, knob, knob), knob / 2, Theme.OnColor);
            if (_key.Length > 0)
            {
                var rest = Rectangle.FromLTRB(track.Right + Theme.Px(10), 0, Width, Height);
                DrawText(g, Texts.Get(_key), Theme.Body, rest, Theme.Text);
            }
        }

        protected override void OnClick(EventArgs e)
        {
            Focus();
            Checked = !Checked;
            base.OnClick(e);
            if (Changed != null)
            {
                Changed(this, EventArgs.Empty);
            }
        }

        protected override void OnKeyDown(KeyEventArgs e)
        {
            base.OnKeyDown(e);
            if (e.KeyCode == Keys.Space)
            {
                OnClick(EventArgs.Empty);
            }
        }
    }

    /// <summary>A text box in the theme's colours.</summary>
    public class Field : FlatControl
    {
        private readonly TextBox _box = new TextBox();

        public Field(string name)
        {
            Name = name;
            _box.Name = name + "Box";
            _box.BorderStyle = BorderStyle.None;
            _box.Font = Theme.Body;
            Controls.Add(_box);
            Size = new Size(Theme.Px(200), Theme.Px(30));
            ApplyTheme();
        }

        /// <summary>The user left the field or pressed Enter.</summary>
        public event EventHandler Committed;

        public string Value
        {
            get { return _box.Text; }
            set { _box.Text = value; }
        }

        public void ApplyTheme()
        {
            BackColor = Theme.FieldOn(Surround);
            _box.BackColor = BackColor;
            _box.ForeColor = Theme.Text;
            Invalidate();
        }

        protected TextBox Box
        {
            get { return _box; }
        }

        protected virtual int RightReserve
        {
            get { return 0; }
        }

        protected override void Draw(Graphics g)
        {
            FillRound(g, new Rectangle(0, 0, Width, Height), Theme.Px(6), BackColor);
        }

        protected override void OnLayout(LayoutEventArgs e)
        {
            base.OnLayout(e);
            int side = Theme.Px(8);
            _box.SetBounds(side, (Height - _box.PreferredHeight) / 2, Math.Max(1, Width - 2 * side - RightReserve), _box.PreferredHeight);
        }

        protected override void OnCreateControl()
        {
            base.OnCreateControl();
            ApplyTheme(); // now it has a parent
            _box.LostFocus += (sender, e) => Commit();
            _box.KeyDown += (sender, e) =>
            {
                if (e.KeyCode == Keys.Enter)
                {
                    e.SuppressKeyPress = true;
                    Commit();
                }
            };
        }

        protected virtual void Commit()
        {
            if (Committed != null)
            {
                Committed(this, EventArgs.Empty);
            }
        }
    }

    /// <summary>A number with buttons to lower and raise it.</summary>
    public sealed class Stepper : Field
    {
        private readonly double _low, _high, _step;
        private readonly string _format, _unitKey;
        private double _number;
        private readonly FlatButton _less, _more;

        /// <param name="step">what a button adds; 0: a tenth, rounded to a pleasant number</param>
        /// <param name="unitKey">text after the number; "" for none</param>
        public Stepper(string name, double low, double high, double step, string format, string unitKey = "") : base(name)
        {
            _low = low;
            _high = high;
            _step = step;
            _format = format;
            _unitKey = unitKey;
            _less = new FlatButton(name + "Less", "", Glyph.Minus, ButtonKind.Quiet) { TabStop = false };
            _more = new FlatButton(name + "More", "", Glyph.Plus, ButtonKind.Quiet) { TabStop = false };
            _less.Click += (sender, e) => Step(-1);
            _more.Click += (sender, e) => Step(1);
            Controls.Add(_less);
            Controls.Add(_more);
            Number = low;
        }

        public double Number
        {
            get { return _number; }
            set
            {
                _number = Math.Max(_low, Math.Min(_high, value));
                Value = _number.ToString(_format, CultureInfo.InvariantCulture);
            }
        }

        protected override int RightReserve
        {
            get { return 2 * Theme.Px(26) + UnitWidth; }
        }

        private int UnitWidth
        {
            get { return string.IsNullOrEmpty(_unitKey) ? 0 : TextRenderer.MeasureText(Texts.Get(_unitKey), Theme.Small).Width; }
        }

        protected override void Draw(Graphics g)
        {
            base.Draw(g);
            if (_unitKey.Length > 0)
            {
                var place = new Rectangle(_less.Left - UnitWidth, 0, UnitWidth, Height);
                DrawText(g, Texts.Get(_unitKey), Theme.Small, place, Theme.Muted);
            }
        }

        protected override void OnLayout(LayoutEventArgs e)
        {
            base.OnLayout(e);
            if (_more == null)
            {
                return; // the base class's constructor lays out too
            }
            int side = Theme.Px(24), gap = Theme.Px(2);
            _more.SetBounds(Width - side - gap, (Height - side) / 2, side, side);
            _less.SetBounds(Width - 2 * side - 2 * gap, (Height - side) / 2, side, side);
        }

        protected override void Commit()
        {
            double number;
            string text = Value.Trim().Replace(',', '.');
            bool valid = double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out number);
            Number = valid && !double.IsNaN(number) ? number : _number;
            base.Commit();
        }

        private void Step(int direction)
        {
            Commit();
            double step = _step;
            if (step == 0)
            {
                double size = Math.Pow(10, Math.Floor(Math.Log10(Math.Max(_low, _number * (direction < 0 ? 0.999 : 1)))));
                step = Math.Max(0.1, size);
            }
            Number = Math.Round((_number + direction * step) / step) * step;
            Commit();
        }
    }

    /// <summary>One of several texts: a button that opens a menu.</summary>
    public sealed class Choice : FocusControl
    {
        private readonly List<KeyValuePair<string, string>> _items = new List<KeyValuePair<string, string>>();
        private string _value = "";
        private bool _hover;

        public Choice(string name) : base(name)
        {
            Cursor = Cursors.Hand;
            Size = new Size(Theme.Px(200), Theme.Px(30));
        }

        public event EventHandler Changed;

        public string Value
        {
            get { return _value; }
            set
            {
                _value = value;
                int at = _items.FindIndex(item => item.Key == value);
                Text = at < 0 ? value : _items[at].Value;
                AccessibleDescription = value;
                Invalidate();
            }
        }

        public void Add(string value, string text)
        {
            _items.Add(new KeyValuePair<string, string>(value, text));
        }

        protected override void Draw(Graphics g)
        {
            FillRound(g, new Rectangle(0, 0, Width, Height), Theme.Px(6), _hover ? Theme.FieldHover : Theme.Field);
            int side = Theme.Px(8), icon = Theme.Px(14);
            DrawText(g, Text, Theme.Body, new Rectangle(side, 0, Width - 2 * side - icon, Height), Theme.Text);
            Glyphs.Draw(g, Glyph.Down, new Rectangle(Width - side - icon, (Height - icon) / 2, icon, icon), Theme.Muted);
        }

        protected override void OnMouseEnter(EventArgs e)
        {
            base.OnMouseEnter(e);
            _hover = true;
            Invalidate();
        }

        protected override void OnMouseLeave(EventArgs e)
        {
            base.OnMouseLeave(e);
            _hover = false;
            Invalidate();
        }

        protected override void OnKeyDown(KeyEventArgs e)
        {
            base.OnKeyDown(e);
            int at = _items.FindIndex(item => item.Key == _value);
            int to = e.KeyCode == Keys.Down ? at + 1 : e.KeyCode == Keys.Up ? at - 1 : at;
            if (to != at && to >= 0 && to < _items.Count)
            {
                Choose(_items[to].Key);
            }
        }

        protected override bool IsInputKey(Keys keyData)
        {
            return keyData == Keys.Up || keyData == Keys.Down || base.IsInputKey(keyData);
        }

        protected override void OnClick(EventArgs e)
        {
            base.OnClick(e);
            Focus();
            var menu = new ContextMenuStrip { Font = Theme.Body, ShowImageMargin = false, Renderer = new MenuRenderer() };
            foreach (KeyValuePair<string, string> item in _items)
            {
                string value = item.Key;
                var line = new ToolStripMenuItem(item.Value) { ForeColor = Theme.Text, Padding = new Padding(0, Theme.Px(3), 0, Theme.Px(3)) };
                line.Click += (sender, args) => Choose(value);
                menu.Items.Add(line);
            }
            menu.Closed += (sender, args) => BeginInvoke((Action)menu.Dispose); // its click comes after its closing
            menu.Show(this, new Point(0, Height));
        }

        private void Choose(string value)
        {
            Value = value;
            if (Changed != null)
            {
                Changed(this, EventArgs.Empty);
            }
        }

        private sealed class MenuRenderer : ToolStripProfessionalRenderer
        {
            protected override void OnRenderToolStripBackground(ToolStripRenderEventArgs e)
            {
                e.Graphics.Clear(Theme.Field);
            }

            protected override void OnRenderToolStripBorder(ToolStripRenderEventArgs e)
            {
                using (var pen = new Pen(Theme.CardLine))
                {
                    e.Graphics.DrawRectangle(pen, 0, 0, e.ToolStrip.Width - 1, e.ToolStrip.Height - 1);
                }
            }

            protected override void OnRenderMenuItemBackground(ToolStripItemRenderEventArgs e)
            {
                using (var brush = new SolidBrush(e.Item.Selected ? Theme.FieldHover : Theme.Field))
                {
                    e.Graphics.FillRectangle(brush, new Rectangle(Point.Empty, e.Item.Size));
                }
            }
        }
    }
}
