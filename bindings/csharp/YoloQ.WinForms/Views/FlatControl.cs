// SPDX-License-Identifier: Apache-2.0
using System;
using System.Drawing;
using System.Drawing.Drawing2D;
using System.Windows.Forms;

namespace YoloQ.WinForms.Views
{
    /// <summary>Where text stands in its rectangle.</summary>
    public enum Align
    {
        Left,
        Center,
        Right
    }

    /// <summary>A control that draws itself, without flicker, in the theme's colours.</summary>
    public abstract class FlatControl : Control
    {
        private const TextFormatFlags Flags = TextFormatFlags.VerticalCenter | TextFormatFlags.SingleLine
            | TextFormatFlags.NoPadding | TextFormatFlags.NoPrefix;

        protected FlatControl()
        {
            SetStyle(ControlStyles.UserPaint | ControlStyles.AllPaintingInWmPaint | ControlStyles.OptimizedDoubleBuffer
                | ControlStyles.ResizeRedraw, true);
            SetStyle(ControlStyles.Selectable, false);
            Margin = new Padding(0);
        }

        /// <summary>The colour around what is drawn.</summary>
        protected virtual Color Surround
        {
            get { return Parent is Card ? Theme.Card : Parent == null ? Theme.Window : Parent.BackColor; }
        }

        protected abstract void Draw(Graphics g);

        protected sealed override void OnPaint(PaintEventArgs e)
        {
            e.Graphics.Clear(Surround);
            Draw(e.Graphics);
        }

        protected override void OnPaintBackground(PaintEventArgs e)
        {
        }

        /// <summary>Draws one line; what does not fit ends in an ellipsis.</summary>
        public static void DrawText(Graphics g, string text, Font font, Rectangle where, Color color, Align align = Align.Left)
        {
            if (text.Length == 0 || where.Width <= 0)
            {
                return;
            }
            // placed by measuring: Mono cuts the last pixel of right-aligned text and draws no ellipsis
            int width = Measure(g, text, font).Width;
            if (width > where.Width)
            {
                text = Shorten(g, text, font, where.Width);
                width = Math.Min(where.Width, Measure(g, text, font).Width);
            }
            int room = where.Width - width;
            int x = where.X + (align == Align.Center ? room / 2 : align == Align.Right ? room : 0);
            TextRenderer.DrawText(g, text, font, new Rectangle(x, where.Y, width + Theme.Px(4), where.Height), color, Flags);
        }

        public static Size Measure(Graphics g, string text, Font font)
        {
            return TextRenderer.MeasureText(g, text, font, new Size(int.MaxValue, int.MaxValue), Flags);
        }

        private static string Shorten(Graphics g, string text, Font font, int width)
        {
            int fits = 0, tooLong = text.Length;
            while (tooLong - fits > 1)
            {
                int middle = (fits + tooLong) / 2;
                bool small = Measure(g, text.Substring(0, middle) + "…", font).Width <= width;
                fits = small ? middle : fits;
                tooLong = small ? tooLong : middle;
            }
            return text.Substring(0, fits).TrimEnd() + "…";
        }

        public static void FillRound(Graphics g, Rectangle where, int radius, Color color)
        {
            using (GraphicsPath path = Round(where, radius))
            using (var brush = new SolidBrush(color))
            using (new Smoothing(g))
            {
                g.FillPath(brush, path);
            }
        }

        public static void DrawRound(Graphics g, Rectangle where, int radius, Color color)
        {
            where = new Rectangle(where.X, where.Y, where.Width - 1, where.Height - 1);
            using (GraphicsPath path = Round(where, radius))
            using (var pen = new Pen(color))
            using (new Smoothing(g))
            {
                g.DrawPath(pen, path);
            }
        }

        /// <summary>A round lamp; a soft ring shows that it is lit.</summary>
        public static void DrawLamp(Graphics g, Rectangle where, Color color, bool lit)
        {
            using (new Smoothing(g))
            {
                if (lit)
                {
                    using (var halo = new SolidBrush(Color.FromArgb(60, color)))
                    {
                        g.FillEllipse(halo, where);
                    }
                }
                where.Inflate(-where.Width / 5, -where.Height / 5);
                using (var brush = new SolidBrush(color))
                {
                    g.FillEllipse(brush, where);
                }
            }
        }

        private static GraphicsPath Round(Rectangle where, int radius)
        {
            var path = new GraphicsPath();
            int d = Math.Max(1, Math.Min(radius * 2, Math.Min(where.Width, where.Height)));
            path.AddArc(where.X, where.Y, d, d, 180, 90);
            path.AddArc(where.Right - d, where.Y, d, d, 270, 90);
            path.AddArc(where.Right - d, where.Bottom - d, d, d, 0, 90);
            path.AddArc(where.X, where.Bottom - d, d, d, 90, 90);
            path.CloseFigure();
            return path;
        }
    }

    /// <summary>A control that takes the focus, and is drawn anew when that or whether it is enabled changes.</summary>
    public abstract class FocusControl : FlatControl
    {
        protected FocusControl(string name)
        {
            Name = name;
            SetStyle(ControlStyles.Selectable, true);
            TabStop = true;
        }

        protected override void OnEnabledChanged(EventArgs e)
        {
            base.OnEnabledChanged(e);
            Invalidate();
        }

        protected override void OnGotFocus(EventArgs e)
        {
            base.OnGotFocus(e);
            Invalidate();
        }

        protected override void OnLostFocus(EventArgs e)
        {
            base.OnLostFocus(e);
            Invalidate();
        }
    }

    /// <summary>Rounds off what is drawn until it is disposed.</summary>
    public struct Smoothing : IDisposable
    {
        private readonly Graphics _g;
        private readonly SmoothingMode _before;

        public Smoothing(Graphics g)
        {
            _g = g;
            _before = g.SmoothingMode;
            g.SmoothingMode = SmoothingMode.AntiAlias;
        }

        public void Dispose()
        {
            _g.SmoothingMode = _before;
        }
    }

    /// <summary>A panel with a title line on a rounded ground; lays its one content control out below the title.</summary>
    public class Card : Panel
    {
        private string _titleKey = "";
        private string _note = "";

        public Card(string titleKey)
        {
            _titleKey = titleKey;
            SetStyle(ControlStyles.UserPaint | ControlStyles.AllPaintingInWmPaint | ControlStyles.OptimizedDoubleBuffer
                | ControlStyles.ResizeRedraw, true);
            Dock = DockStyle.Fill;
            Margin = new Padding(Theme.Px(4));
            int side = Theme.Px(12);
            Padding = new Padding(side, titleKey.Length > 0 ? Theme.Px(36) : Theme.Px(10), side, Theme.Px(10));
        }

        /// <summary>Muted text after the title, such as a file's name.</summary>
        public string Note
        {
            get { return _note; }
            set
            {
                if (_note != value)
                {
                    _note = value;
                    Invalidate(new Rectangle(0, 0, Width, Padding.Top));
                }
            }
        }

        /// <summary>Width at the right of the title line that other controls take.</summary>
        public int TitleReserve { get; set; }

        protected override void OnPaint(PaintEventArgs e)
        {
            Graphics g = e.Graphics;
            g.Clear(Theme.Window);
            var all = new Rectangle(0, 0, Width, Height);
            FlatControl.FillRound(g, all, Theme.Px(8), Theme.Card);
            FlatControl.DrawRound(g, all, Theme.Px(8), Theme.CardLine);
            if (_titleKey.Length == 0)
            {
                return;
            }
            string title = Texts.Get(_titleKey);
            int width = FlatControl.Measure(g, title, Theme.Font(13, true)).Width + Theme.Px(10);
            int right = Width - Theme.Px(12) - TitleReserve;
            var line = new Rectangle(Padding.Left, Theme.Px(8), Math.Min(width, right - Padding.Left), Theme.Px(24));
            FlatControl.DrawText(g, title, Theme.Font(13, true), line, Theme.Text);
            var rest = Rectangle.FromLTRB(line.Right, line.Top, Math.Max(line.Right, right), line.Bottom);
            FlatControl.DrawText(g, _note, Theme.Small, rest, Theme.Muted);
        }

        protected override void OnPaintBackground(PaintEventArgs e)
        {
        }
    }
}
