// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.Drawing;
using System.Windows.Forms;
using YoloQ.WinForms.Inspection;

namespace YoloQ.WinForms.Views
{
    /// <summary>Buttons in a row, each as wide as its text needs in the language of the moment.</summary>
    public sealed class FlowBar : Control
    {
        private readonly List<KeyValuePair<Control, int>> _items = new List<KeyValuePair<Control, int>>();

        public FlowBar()
        {
            SetStyle(ControlStyles.Selectable, false);
            Dock = DockStyle.Fill;
            Margin = new Padding(0);
            Name = "bar";
        }

        /// <summary>The first control stands at the right end.</summary>
        public bool FromRight { get; set; }

        /// <summary>Controls as high as a title line.</summary>
        public bool Small { get; set; }

        /// <param name="gap">additional space before it, at 96 dots per inch</param>
        public void Add(Control control, int gap)
        {
            _items.Add(new KeyValuePair<Control, int>(control, gap));
            Controls.Add(control);
        }

        public void Arrange()
        {
            int height = Theme.Px(Small ? 26 : 34), x = 0;
            using (Graphics g = CreateGraphics())
            {
                foreach (KeyValuePair<Control, int> item in _items)
                {
                    var button = item.Key as FlatButton;
                    int width = button == null ? item.Key.Width : Math.Max(height, button.NaturalWidth(g));
                    x += Theme.Px(item.Value);
                    item.Key.SetBounds(FromRight ? Width - x - width : x, (Height - height) / 2, width, height);
                    x += width + Theme.Px(Small ? 4 : 6);
                }
            }
        }

        protected override void OnLayout(LayoutEventArgs e)
        {
            base.OnLayout(e);
            if (IsHandleCreated)
            {
                Arrange();
            }
        }

        protected override void OnHandleCreated(EventArgs e)
        {
            base.OnHandleCreated(e);
            Arrange();
        }
    }

    /// <summary>The program's sign and name.</summary>
    public sealed class TitleView : FlatControl
    {
        public TitleView()
        {
            Dock = DockStyle.Fill;
            Name = "title";
        }

        protected override void Draw(Graphics g)
        {
            int side = Theme.Px(30);
            var sign = new Rectangle(Theme.Px(6), (Height - side) / 2, side, side);
            FillRound(g, sign, Theme.Px(7), Theme.Accent);
            int inset = Theme.Px(8);
            var box = new Rectangle(sign.X + inset, sign.Y + inset, side - 2 * inset, side - 2 * inset);
            using (var pen = new Pen(Theme.OnColor, Theme.Px(2)))
            {
                int arm = box.Width / 3; // the four corners of a detection box
                foreach (int dx in new[] { 0, 1 })
                {
                    foreach (int dy in new[] { 0, 1 })
                    {
                        int x = box.X + dx * box.Width, y = box.Y + dy * box.Height;
                        var corner = new Point(x, y);
                        g.DrawLine(pen, corner, new Point(x + (dx == 0 ? arm : -arm), y));
                        g.DrawLine(pen, corner, new Point(x, y + (dy == 0 ? arm : -arm)));
                    }
                }
            }
            var rest = Rectangle.FromLTRB(sign.Right + Theme.Px(10), 0, Width, Height);
            DrawText(g, Texts.Get("app.title"), Theme.Font(16, true), rest, Theme.Text);
        }
    }

    /// <summary>The alarm lamp and its text: green and clear, or red and since when.</summary>
    public sealed class AlarmBar : FlatControl
    {
        private bool _active;
        private string _text = "";

        public AlarmBar(string name)
        {
            Name = name;
            Dock = DockStyle.Fill;
        }

        public void Set(bool active, string text)
        {
            if (_active != active || _text != text)
            {
                _active = active;
                _text = text;
                Text = text;
                Invalidate();
            }
        }

        protected override void Draw(Graphics g)
        {
            int side = Theme.Px(22), top = Theme.Px(10) + (Height - Theme.Px(10) - side) / 2;
            DrawLamp(g, new Rectangle(0, top, side, side), _active ? Theme.Bad : Theme.Good, true);
            DrawText(g, _text, Theme.Small, Rectangle.FromLTRB(side + Theme.Px(6), Theme.Px(10), Width, Height), _active ? Theme.Text : Theme.Muted);
        }
    }

    /// <summary>The PLC's connection, at the right end of its card's title.</summary>
    public sealed class PlcLamp : FlatControl
    {
        private PlcState _state;

        public PlcLamp(string name)
        {
            Name = name;
            AccessibleDescription = _state.ToString();
        }

        public void Set(PlcState state)
        {
            if (_state != state)
            {
                _state = state;
                AccessibleDescription = state.ToString();
                Invalidate();
            }
        }

        protected override void Draw(Graphics g)
        {
            Color color = _state == PlcState.Connected ? Theme.Good : _state == PlcState.Waiting ? Theme.Warn : Theme.Faint;
            string key = _state == PlcState.Connected ? "plc.connected" : _state == PlcState.Waiting ? "plc.waiting" : "plc.off";
            int side = Theme.Px(16);
            string text = Texts.Get(key);
            int width = Math.Min(Measure(g, text, Theme.Small).Width + 2, Width - side);
            var place = new Rectangle(Width - width - Theme.Px(4), 0, width, Height);
            DrawText(g, text, Theme.Small, place, Theme.Muted, Align.Right);
            DrawLamp(g, new Rectangle(place.Left - side - Theme.Px(4), (Height - side) / 2, side, side), color, _state == PlcState.Connected);
        }
    }

    /// <summary>The lowest line: state at the left, model and measurements at the right.</summary>
    public sealed class StatusLine : FlatControl
    {
        private string _left = "", _right = "";
        private Color _color = Color.Gray;

        public StatusLine(string name)
        {
            Name = name;
            Dock = DockStyle.Fill;
        }

        public void Set(Color color, string left, string right)
        {
            if (_left != left || _right != right || _color != color)
            {
                _color = color;
                _left = left;
                _right = right;
                Text = left;
                Invalidate();
            }
        }

        protected override void Draw(Graphics g)
        {
            int lamp = Theme.Px(8), x = Theme.Px(8);
            FillRound(g, new Rectangle(x, (Height - lamp) / 2, lamp, lamp), lamp / 2, _color);
            x += lamp + Theme.Px(8);
            int half = (Width - x) / 2;
            DrawText(g, _left, Theme.Small, new Rectangle(x, 0, half, Height), Theme.Muted);
            DrawText(g, _right, Theme.Small, new Rectangle(x + half, 0, half - Theme.Px(8), Height), Theme.Muted, Align.Right);
        }
    }
}
