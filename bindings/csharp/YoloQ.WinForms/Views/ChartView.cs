// SPDX-License-Identifier: Apache-2.0
using System;
using System.Drawing;
using System.Drawing.Drawing2D;
using System.Globalization;
using System.Windows.Forms;
using YoloQ.WinForms.Model;

namespace YoloQ.WinForms.Views
{
    /// <summary>A line over the newest values of a series, on a scale that starts at zero, with the newest value in large.</summary>
    public sealed class ChartView : FlatControl
    {
        private readonly Series _series;
        private readonly string _unitKey;
        private readonly Func<Color> _color;
        private readonly float[] _values;
        private readonly PointF[] _line, _area;
        private int _count;

        public ChartView(string name, Series series, string unitKey, Func<Color> color)
        {
            Name = name;
            _series = series;
            _unitKey = unitKey;
            _color = color;
            _values = new float[series.Capacity];
            _line = new PointF[series.Capacity];
            _area = new PointF[series.Capacity + 2];
            Dock = DockStyle.Fill;
        }

        /// <summary>Reads the series and draws it anew; smallest, mean and largest value go to the card's title line.</summary>
        public void Reload()
        {
            _count = _series.CopyTo(_values);
            AccessibleDescription = _count == 0 ? "" : _values[_count - 1].ToString("0.0", CultureInfo.InvariantCulture);
            var card = Parent as Card;
            if (card != null)
            {
                card.Note = _count == 0 ? "" : Spread();
            }
            Invalidate();
        }

        protected override void Draw(Graphics g)
        {
            string newest = _count == 0 ? "—" : Format(_values[_count - 1]);
            int head = Theme.Px(28);
            Font large = Theme.Font(20, true);
            int width = Measure(g, newest, large).Width + Theme.Px(6);
            DrawText(g, newest, large, new Rectangle(0, 0, width, head), Theme.Text);
            DrawText(g, Texts.Get(_unitKey), Theme.Small, new Rectangle(width, Theme.Px(3), Width - width, head), Theme.Muted);
            int scale = Theme.Px(34);
            var plot = Rectangle.FromLTRB(scale, head + Theme.Px(8), Width - 1, Height - Theme.Px(6));
            if (plot.Width > 10 && plot.Height > 10)
            {
                float top = NiceTop();
                DrawGrid(g, plot, scale, top);
                DrawLine(g, plot, top);
            }
        }

        private void DrawGrid(Graphics g, Rectangle plot, int scale, float top)
        {
            using (var pen = new Pen(Theme.CardLine))
            {
                for (int i = 0; i <= 2; i++)
                {
                    int y = plot.Bottom - plot.Height * i / 2;
                    g.DrawLine(pen, plot.Left, y, plot.Right, y);
                    var place = new Rectangle(0, y - Theme.Px(8), scale - Theme.Px(6), Theme.Px(16));
                    DrawText(g, Format(top * i / 2), Theme.Font(11), place, Theme.Faint, Align.Right);
                }
            }
        }

        private void DrawLine(Graphics g, Rectangle plot, float top)
        {
            if (_count < 2)
            {
                return;
            }
            int n = _line.Length;
            for (int i = 0; i < n; i++) // the newest at the right; before the first value the line has no length
            {
                int at = Math.Max(0, _count - n + i);
                float x = plot.Left + plot.Width * (Math.Max(i, n - _count) / (float)(n - 1));
                _line[i] = new PointF(x, plot.Bottom - plot.Height * Math.Min(1, _values[at] / top));
                _area[i + 1] = _line[i];
            }
            _area[0] = new PointF(_line[0].X, plot.Bottom);
            _area[n + 1] = new PointF(plot.Right, plot.Bottom);
            Color color = _color();
            using (var brush = new SolidBrush(Color.FromArgb(45, color)))
            using (var pen = new Pen(color, Math.Max(1.5f, Theme.Px(2) * 0.8f)) { LineJoin = LineJoin.Round })
            using (new Smoothing(g))
            {
                g.FillPolygon(brush, _area);
                g.DrawLines(pen, _line);
            }
        }

        private string Spread()
        {
            float low = float.MaxValue, high = 0, sum = 0;
            for (int i = 0; i < _count; i++)
            {
                low = Math.Min(low, _values[i]);
                high = Math.Max(high, _values[i]);
                sum += _values[i];
            }
            return Texts.Format("chart.spread", Format(low), Format(sum / _count), Format(high));
        }

        /// <summary>The smallest 1, 2 or 5 times a power of ten above all values.</summary>
        private float NiceTop()
        {
            float high = 1;
            for (int i = 0; i < _count; i++)
            {
                high = Math.Max(high, _values[i]);
            }
            double power = Math.Pow(10, Math.Floor(Math.Log10(high)));
            foreach (double step in new[] { 1.0, 2.0, 5.0, 10.0 })
            {
                if (high <= power * step)
                {
                    return (float)(power * step);
                }
            }
            return high;
        }

        private static string Format(float value)
        {
            return value.ToString(value >= 100 || value == 0 ? "0" : "0.0", CultureInfo.InvariantCulture);
        }
    }
}
