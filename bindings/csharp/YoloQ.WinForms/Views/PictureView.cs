// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.Drawing;
using System.Drawing.Drawing2D;
using System.Globalization;
using System.Windows.Forms;
using YoloQ.WinForms.Inspection;

namespace YoloQ.WinForms.Views
{
    /// <summary>The live view. Wheel zooms about the mouse, dragging pans, a double click fits.</summary>
    public sealed class PictureView : FlatControl
    {
        private const float MaxZoom = 32;
        private const int MaxLabels = 60; // more would hide the picture, and take long to draw
        private readonly string[] _labels = new string[MaxLabels];
        private readonly Rectangle[] _boxes = new Rectangle[MaxLabels]; // empty: not in sight
        private readonly Rectangle[] _places = new Rectangle[MaxLabels];
        private InspectedFrame _frame;
        private IReadOnlyList<string> _names = StationStatus.NoNames;
        private bool _fit = true;
        private float _zoom = 1;
        private PointF _centre; // of the view, in pixels of the picture
        private Point _grabbed;
        private bool _panning;
        private bool _loading;

        public PictureView(string name)
        {
            Name = name;
            SetStyle(ControlStyles.Selectable, true);
            Dock = DockStyle.Fill;
        }

        /// <summary>Screen pixels per pixel of the picture.</summary>
        public float Zoom
        {
            get { return _zoom; }
        }

        public bool IsFit
        {
            get { return _fit; }
        }

        /// <summary>The model is being loaded: says so over the picture.</summary>
        public bool Loading
        {
            get { return _loading; }
            set
            {
                if (_loading != value)
                {
                    _loading = value;
                    Invalidate();
                }
            }
        }

        /// <summary>Draws this frame from now on; it must stay as it is until the next call.</summary>
        public void Show(InspectedFrame frame, IReadOnlyList<string> names)
        {
            bool other = _frame == null || _frame.Pixels.Width != frame.Pixels.Width || _frame.Pixels.Height != frame.Pixels.Height;
            _frame = frame;
            _names = names;
            if (other || _fit)
            {
                Fit();
            }
            Changed();
        }

        public void Fit()
        {
            _fit = true;
            if (HasPicture && Width > 0 && Height > 0)
            {
                _zoom = Math.Min((float)Width / _frame.Pixels.Width, (float)Height / _frame.Pixels.Height);
                _centre = new PointF(_frame.Pixels.Width / 2f, _frame.Pixels.Height / 2f);
            }
            Changed();
        }

        /// <summary>Zooms about the middle of the view.</summary>
        public void ZoomTo(float zoom)
        {
            ZoomAbout(zoom, new Point(Width / 2, Height / 2));
        }

        protected override Color Surround
        {
            get { return Theme.Canvas; }
        }

        private bool HasPicture
        {
            get { return _frame != null && !_frame.Pixels.IsEmpty; }
        }

        protected override void Draw(Graphics g)
        {
            if (HasPicture)
            {
                DrawFrame(g);
            }
            else
            {
                var middle = new Rectangle(0, Height / 2 - Theme.Px(40), Width, Theme.Px(40));
                DrawText(g, Texts.Get("view.empty"), Theme.Font(16), middle, Theme.Muted, Align.Center);
                middle.Offset(0, Theme.Px(36));
                DrawText(g, Texts.Get("view.empty_hint"), Theme.Body, middle, Theme.Faint, Align.Center);
            }
            if (_loading)
            {
                DrawNote(g, Texts.Get("view.loading"), Theme.Accent, Theme.OnColor);
            }
        }

        private void DrawFrame(Graphics g)
        {
            DrawPicture(g);
            for (int i = _frame.Count - 1; i >= 0; i--) // the surest last, on top
            {
                DrawBox(g, ref _frame.Found[i]);
            }
            DrawLabels(g);
            if (_frame.Error != null)
            {
                DrawNote(g, _frame.Error, Theme.Warn, Color.Black);
            }
        }

        private void DrawPicture(Graphics g)
        {
            bool preview = _frame.PreviewFactor > 1 && _zoom * _frame.PreviewFactor <= 1.01f;
            PixelBuffer pixels = preview ? _frame.Preview : _frame.Pixels;
            float scale = preview ? _zoom * _frame.PreviewFactor : _zoom;
            PointF corner = ToPicture(new Point(0, 0));
            float step = preview ? _frame.PreviewFactor : 1;
            // only what is in sight: a 16k picture at 1:1 draws as fast as a small one
            int x0 = Math.Max(0, (int)Math.Floor(corner.X / step)), y0 = Math.Max(0, (int)Math.Floor(corner.Y / step));
            int x1 = Math.Min(pixels.Width, (int)Math.Ceiling(corner.X / step + Width / scale) + 1);
            int y1 = Math.Min(pixels.Height, (int)Math.Ceiling(corner.Y / step + Height / scale) + 1);
            if (x1 <= x0 || y1 <= y0)
            {
                return;
            }
            PointF from = ToScreen(x0 * step, y0 * step), to = ToScreen(x1 * step, y1 * step);
            var target = RectangleF.FromLTRB(from.X, from.Y, to.X, to.Y);
            g.InterpolationMode = scale > 1.01f ? InterpolationMode.NearestNeighbor : InterpolationMode.Bilinear;
            g.PixelOffsetMode = PixelOffsetMode.Half;
            g.DrawImage(pixels.View, target, new RectangleF(x0, y0, x1 - x0, y1 - y0), GraphicsUnit.Pixel);
            g.PixelOffsetMode = PixelOffsetMode.Default;
        }

        private void DrawBox(Graphics g, ref Detection found)
        {
            PointF a = ToScreen(found.X1, found.Y1), b = ToScreen(found.X2, found.Y2);
            if (!InSight(a, b))
            {
                return;
            }
            bool blamed = _frame.Verdict.IsBlamed(found.ClassId);
            Color color = ColorOf(ref found);
            if (found.Angle == 0)
            {
                DrawUpright(g, a, b, color, blamed);
            }
            else
            {
                DrawTurned(g, Corners(a, b, found.Angle), color, blamed);
            }
        }

        private bool InSight(PointF a, PointF b)
        {
            return b.X >= 0 && b.Y >= 0 && a.X <= Width && a.Y <= Height;
        }

        private Color ColorOf(ref Detection found)
        {
            return _frame.Verdict.IsBlamed(found.ClassId) ? Theme.Bad : Theme.ClassColor(found.ClassId);
        }

        private static void DrawUpright(Graphics g, PointF a, PointF b, Color color, bool blamed)
        {
            var box = Rectangle.Round(RectangleF.FromLTRB(a.X, a.Y, b.X, b.Y));
            if (blamed)
            {
                using (var glow = new Pen(Color.FromArgb(90, color), Theme.Px(6)))
                {
                    g.DrawRectangle(glow, box);
                }
            }
            using (var pen = new Pen(color, Theme.Px(2)))
            {
                g.DrawRectangle(pen, box);
            }
        }

        private static void DrawTurned(Graphics g, PointF[] corners, Color color, bool blamed)
        {
            using (new Smoothing(g))
            {
                if (blamed)
                {
                    using (var glow = new Pen(Color.FromArgb(90, color), Theme.Px(6)) { LineJoin = LineJoin.Round })
                    {
                        g.DrawPolygon(glow, corners);
                    }
                }
                using (var pen = new Pen(color, Theme.Px(2)) { LineJoin = LineJoin.Round })
                {
                    g.DrawPolygon(pen, corners);
                }
            }
        }

        /// <summary>On top of all boxes. The surest chooses its place first and, where there is no room, lies on top.</summary>
        private void DrawLabels(Graphics g)
        {
            Font font = Theme.Font(12, true);
            PointF from = ToScreen(0, 0), to = ToScreen(_frame.Pixels.Width, _frame.Pixels.Height);
            var picture = Rectangle.Round(RectangleF.FromLTRB(from.X, from.Y, to.X, to.Y));
            picture.Intersect(new Rectangle(0, 0, Width, Height));
            int count = Math.Min(_frame.Count, MaxLabels);
            for (int i = 0; i < count; i++)
            {
                _boxes[i] = Outline(ref _frame.Found[i]);
            }
            for (int i = 0; i < count; i++)
            {
                _places[i] = Rectangle.Empty;
                if (!_boxes[i].IsEmpty)
                {
                    _labels[i] = LabelOf(ref _frame.Found[i]);
                    var size = new Size(Measure(g, _labels[i], font).Width + Theme.Px(10), Theme.Px(19));
                    _places[i] = LabelPlaces.Find(i, _boxes, count, size, picture, _places);
                }
            }
            for (int i = count - 1; i >= 0; i--)
            {
                if (!_places[i].IsEmpty)
                {
                    using (var brush = new SolidBrush(ColorOf(ref _frame.Found[i])))
                    {
                        g.FillRectangle(brush, _places[i]);
                    }
                    DrawText(g, _labels[i], font, _places[i], Theme.OnColor, Align.Center);
                }
            }
        }

        private string LabelOf(ref Detection found)
        {
            string name = found.ClassId >= 0 && found.ClassId < _names.Count ? _names[found.ClassId] : found.ClassId.ToString();
            return name + " " + found.Score.ToString("0.00", CultureInfo.InvariantCulture);
        }

        private Rectangle Outline(ref Detection found)
        {
            PointF a = ToScreen(found.X1, found.Y1), b = ToScreen(found.X2, found.Y2);
            if (!InSight(a, b))
            {
                return Rectangle.Empty;
            }
            var box = Rectangle.Round(RectangleF.FromLTRB(a.X, a.Y, b.X, b.Y));
            box.Inflate(Theme.Px(1), 0); // half the pen at the sides, so that a label is flush with it
            return box;
        }

        private void DrawNote(Graphics g, string text, Color ground, Color ink)
        {
            var bar = new Rectangle(0, Height - Theme.Px(32), Width, Theme.Px(32));
            using (var brush = new SolidBrush(ground))
            {
                g.FillRectangle(brush, bar);
            }
            bar.Inflate(-Theme.Px(10), 0);
            DrawText(g, text, Theme.Body, bar, ink);
        }

        private static PointF[] Corners(PointF a, PointF b, float angle)
        {
            float x = (a.X + b.X) / 2, y = (a.Y + b.Y) / 2, w = (b.X - a.X) / 2, h = (b.Y - a.Y) / 2;
            float cos = (float)Math.Cos(angle), sin = (float)Math.Sin(angle);
            return new[] { Turn(x, y, -w, -h, cos, sin), Turn(x, y, w, -h, cos, sin), Turn(x, y, w, h, cos, sin), Turn(x, y, -w, h, cos, sin) };
        }

        private static PointF Turn(float x, float y, float dx, float dy, float cos, float sin)
        {
            return new PointF(x + dx * cos - dy * sin, y + dx * sin + dy * cos);
        }

        protected override void OnMouseWheel(MouseEventArgs e)
        {
            base.OnMouseWheel(e);
            ZoomAbout(_zoom * (e.Delta > 0 ? 1.25f : 0.8f), e.Location);
        }

        protected override void OnMouseEnter(EventArgs e)
        {
            base.OnMouseEnter(e);
            Focus(); // .NET Framework sends the wheel to the focused control
        }

        protected override void OnMouseDown(MouseEventArgs e)
        {
            base.OnMouseDown(e);
            Focus();
            _panning = HasPicture;
            _grabbed = e.Location;
        }

        protected override void OnMouseMove(MouseEventArgs e)
        {
            base.OnMouseMove(e);
            if (!_panning || e.Location == _grabbed)
            {
                return;
            }
            _fit = false;
            _centre = new PointF(_centre.X - (e.X - _grabbed.X) / _zoom, _centre.Y - (e.Y - _grabbed.Y) / _zoom);
            _grabbed = e.Location;
            KeepInSight();
            Changed();
        }

        protected override void OnMouseUp(MouseEventArgs e)
        {
            base.OnMouseUp(e);
            _panning = false;
        }

        protected override void OnDoubleClick(EventArgs e)
        {
            base.OnDoubleClick(e);
            Fit();
        }

        protected override void OnSizeChanged(EventArgs e)
        {
            base.OnSizeChanged(e);
            if (_fit)
            {
                Fit();
            }
        }

        private void ZoomAbout(float zoom, Point at)
        {
            if (!HasPicture)
            {
                return;
            }
            PointF fixedPoint = ToPicture(at);
            float smallest = Math.Min(1, Math.Min((float)Width / _frame.Pixels.Width, (float)Height / _frame.Pixels.Height) / 2);
            _zoom = Math.Max(smallest, Math.Min(MaxZoom, zoom));
            _centre = new PointF(fixedPoint.X - (at.X - Width / 2f) / _zoom, fixedPoint.Y - (at.Y - Height / 2f) / _zoom);
            _fit = false;
            KeepInSight();
            Changed();
        }

        private void KeepInSight()
        {
            _centre.X = Math.Max(0, Math.Min(_frame.Pixels.Width, _centre.X));
            _centre.Y = Math.Max(0, Math.Min(_frame.Pixels.Height, _centre.Y));
        }

        private PointF ToScreen(float x, float y)
        {
            return new PointF((x - _centre.X) * _zoom + Width / 2f, (y - _centre.Y) * _zoom + Height / 2f);
        }

        private PointF ToPicture(Point at)
        {
            return new PointF((at.X - Width / 2f) / _zoom + _centre.X, (at.Y - Height / 2f) / _zoom + _centre.Y);
        }

        private void Changed()
        {
            int count = _frame == null ? 0 : _frame.Count;
            AccessibleDescription = string.Format(CultureInfo.InvariantCulture, "{0}@{1:0.000}", count, _zoom);
            Invalidate();
        }
    }
}
