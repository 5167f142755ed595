// SPDX-License-Identifier: Apache-2.0
using System;
using System.Drawing;
using System.Drawing.Drawing2D;

namespace YoloQ.WinForms.Views
{
    public enum Glyph
    {
        None,
        Package,
        Picture,
        Folder,
        Play,
        Stop,
        Step,
        Gear,
        Minus,
        Plus,
        Sun,
        Bin,
        Check,
        Down
    }

    /// <summary>Line drawings on a grid of 16 by 16: sharp at every size, no files to ship.</summary>
    public static class Glyphs
    {
        public static void Draw(Graphics g, Glyph icon, Rectangle where, Color color)
        {
            GraphicsState state = g.Save();
            g.SmoothingMode = SmoothingMode.AntiAlias;
            g.TranslateTransform(where.X, where.Y);
            g.ScaleTransform(where.Width / 16f, where.Height / 16f);
            using (var pen = new Pen(color, 1.5f) { LineJoin = LineJoin.Round, StartCap = LineCap.Round, EndCap = LineCap.Round })
            using (var brush = new SolidBrush(color))
            {
                Shape(g, icon, pen, brush);
            }
            g.Restore(state);
        }

        private static void Shape(Graphics g, Glyph icon, Pen pen, Brush brush)
        {
            switch (icon)
            {
                case Glyph.Package:
                    g.DrawPolygon(pen, Points(8, 1.5f, 14, 4.7f, 14, 11.3f, 8, 14.5f, 2, 11.3f, 2, 4.7f));
                    g.DrawLines(pen, Points(2, 4.7f, 8, 8, 14, 4.7f));
                    g.DrawLine(pen, 8, 8, 8, 14.5f);
                    break;
                case Glyph.Picture:
                    g.DrawRectangle(pen, 1.5f, 2.5f, 13, 11);
                    g.DrawLines(pen, Points(2, 12, 6, 7.5f, 9, 10.5f, 11, 8.8f, 14, 11.8f));
                    g.FillEllipse(brush, 9.6f, 4.4f, 2.4f, 2.4f);
                    break;
                case Glyph.Folder:
                    g.DrawPolygon(pen, Points(1.5f, 13, 1.5f, 3, 6, 3, 7.5f, 5, 14.5f, 5, 14.5f, 13));
                    break;
                case Glyph.Play:
                    g.FillPolygon(brush, Points(4, 2, 14, 8, 4, 14));
                    break;
                case Glyph.Stop:
                    g.FillRectangle(brush, 3, 3, 10, 10);
                    break;
                case Glyph.Step:
                    g.FillPolygon(brush, Points(3, 2.5f, 11, 8, 3, 13.5f));
                    g.DrawLine(pen, 13, 3, 13, 13);
                    break;
                default:
                    Sign(g, icon, pen, brush);
                    break;
            }
        }

        private static void Sign(Graphics g, Glyph icon, Pen pen, Brush brush)
        {
            switch (icon)
            {
                case Glyph.Gear:
                    g.DrawEllipse(pen, 5.5f, 5.5f, 5, 5);
                    Rays(g, pen, 5.2f, 7);
                    g.DrawEllipse(pen, 2.8f, 2.8f, 10.4f, 10.4f);
                    break;
                case Glyph.Sun:
                    g.FillEllipse(brush, 4.8f, 4.8f, 6.4f, 6.4f);
                    Rays(g, pen, 5.4f, 7);
                    break;
                case Glyph.Minus:
                    g.DrawLine(pen, 3, 8, 13, 8);
                    break;
                case Glyph.Plus:
                    g.DrawLine(pen, 3, 8, 13, 8);
                    g.DrawLine(pen, 8, 3, 8, 13);
                    break;
                case Glyph.Bin:
                    g.DrawLine(pen, 2.5f, 4, 13.5f, 4);
                    g.DrawLines(pen, Points(4, 4, 4.7f, 14, 11.3f, 14, 12, 4));
                    g.DrawLines(pen, Points(6, 4, 6, 2, 10, 2, 10, 4));
                    break;
                case Glyph.Check:
                    g.DrawLines(pen, Points(3, 8.5f, 6.5f, 12, 13, 4.5f));
                    break;
                case Glyph.Down:
                    g.DrawLines(pen, Points(4, 6.5f, 8, 10.5f, 12, 6.5f));
                    break;
            }
        }

        private static void Rays(Graphics g, Pen pen, float from, float to)
        {
            for (int i = 0; i < 8; i++)
            {
                double angle = i * Math.PI / 4;
                float x = (float)Math.Cos(angle), y = (float)Math.Sin(angle);
                g.DrawLine(pen, 8 + x * from, 8 + y * from, 8 + x * to, 8 + y * to);
            }
        }

        private static PointF[] Points(params float[] numbers)
        {
            var points = new PointF[numbers.Length / 2];
            for (int i = 0; i < points.Length; i++)
            {
                points[i] = new PointF(numbers[i * 2], numbers[i * 2 + 1]);
            }
            return points;
        }
    }
}
