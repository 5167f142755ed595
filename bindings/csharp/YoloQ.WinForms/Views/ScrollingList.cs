// SPDX-License-Identifier: Apache-2.0
using System;
using System.Drawing;
using System.Windows.Forms;

namespace YoloQ.WinForms.Views
{
    /// <summary>Rows that a subclass draws, with a thin scroll bar; only the rows in sight are drawn.</summary>
    public abstract class ScrollingList : FlatControl
    {
        private int _first;
        private int _dragFrom = -1;
        private int _dragFirst;

        protected ScrollingList()
        {
            SetStyle(ControlStyles.Selectable, true);
            Dock = DockStyle.Fill;
        }

        protected abstract int RowCount { get; }

        protected abstract void DrawRow(Graphics g, int row, Rectangle where);

        /// <summary>Draws the head line; its height is <see cref="HeadHeight"/>.</summary>
        protected virtual void DrawHead(Graphics g, Rectangle where)
        {
        }

        protected virtual int HeadHeight
        {
            get { return 0; }
        }

        protected virtual int RowHeight
        {
            get { return Theme.Px(22); }
        }

        protected virtual string Empty
        {
            get { return ""; }
        }

        /// <summary>true while the last row is in sight.</summary>
        protected bool AtEnd
        {
            get { return _first >= MaxFirst; }
        }

        protected void ScrollToEnd()
        {
            _first = MaxFirst;
        }

        private int RowsInSight
        {
            get { return Math.Max(1, (Height - HeadHeight) / RowHeight); }
        }

        private int MaxFirst
        {
            get { return Math.Max(0, RowCount - RowsInSight); }
        }

        private int BarWidth
        {
            get { return Theme.Px(6); }
        }

        protected sealed override void Draw(Graphics g)
        {
            _first = Math.Max(0, Math.Min(_first, MaxFirst));
            int width = Width - (MaxFirst > 0 ? BarWidth + Theme.Px(6) : 0);
            if (HeadHeight > 0)
            {
                DrawHead(g, new Rectangle(0, 0, width, HeadHeight));
            }
            int last = Math.Min(RowCount, _first + RowsInSight);
            for (int row = _first; row < last; row++)
            {
                DrawRow(g, row, new Rectangle(0, HeadHeight + (row - _first) * RowHeight, width, RowHeight));
            }
            if (RowCount == 0)
            {
                DrawText(g, Empty, Theme.Small, new Rectangle(0, HeadHeight, Width, RowHeight), Theme.Faint);
            }
            if (MaxFirst > 0)
            {
                FillRound(g, Thumb, BarWidth / 2, Theme.FieldHover);
            }
        }

        private Rectangle Thumb
        {
            get
            {
                int room = Height - HeadHeight;
                int height = Math.Max(Theme.Px(20), room * RowsInSight / Math.Max(1, RowCount));
                int top = HeadHeight + (MaxFirst == 0 ? 0 : (room - height) * _first / MaxFirst);
                return new Rectangle(Width - BarWidth, top, BarWidth, height);
            }
        }

        protected override void OnMouseWheel(MouseEventArgs e)
        {
            base.OnMouseWheel(e);
            ScrollTo(_first - Math.Sign(e.Delta) * 3);
        }

        protected override void OnMouseEnter(EventArgs e)
        {
            base.OnMouseEnter(e);
            Focus(); // .NET Framework sends the wheel to the focused control
        }

        protected override void OnMouseDown(MouseEventArgs e)
        {
            base.OnMouseDown(e);
            if (MaxFirst > 0 && e.X >= Width - 2 * BarWidth)
            {
                _dragFrom = e.Y;
                _dragFirst = _first;
            }
        }

        protected override void OnMouseMove(MouseEventArgs e)
        {
            base.OnMouseMove(e);
            if (_dragFrom >= 0)
            {
                int room = Math.Max(1, Height - HeadHeight - Thumb.Height);
                ScrollTo(_dragFirst + (e.Y - _dragFrom) * MaxFirst / room);
            }
        }

        protected override void OnMouseUp(MouseEventArgs e)
        {
            base.OnMouseUp(e);
            _dragFrom = -1;
        }

        private void ScrollTo(int first)
        {
            _first = Math.Max(0, Math.Min(first, MaxFirst));
            Invalidate();
        }
    }
}
