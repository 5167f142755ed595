// SPDX-License-Identifier: Apache-2.0
using System.Collections.Generic;
using System.Drawing;
using System.Globalization;
using YoloQ.WinForms.Inspection;
using YoloQ.WinForms.Model;

namespace YoloQ.WinForms.Views
{
    /// <summary>Objects, OK and NG pictures per class.</summary>
    public sealed class ClassTable : ScrollingList
    {
        private readonly Counters _counters;
        private ClassCount[] _counts = new ClassCount[0];
        private int _count;
        private IReadOnlyList<string> _names = StationStatus.NoNames;

        public ClassTable(string name, Counters counters)
        {
            Name = name;
            _counters = counters;
        }

        protected override int RowCount
        {
            get { return System.Math.Min(_count, _names.Count); }
        }

        protected override int HeadHeight
        {
            get { return Theme.Px(22); }
        }

        protected override string Empty
        {
            get { return Texts.Get("classes.empty"); }
        }

        public void Reload(IReadOnlyList<string> names)
        {
            _names = names;
            _count = _counters.CopyTo(ref _counts);
            Invalidate();
        }

        protected override void DrawHead(Graphics g, Rectangle where)
        {
            string[] keys = { "classes.now", "classes.objects", "classes.ok", "classes.ng" };
            DrawText(g, Texts.Get("classes.class"), Theme.Font(11), NamePlace(where, 0), Theme.Faint);
            for (int i = 0; i < keys.Length; i++)
            {
                DrawText(g, Texts.Get(keys[i]), Theme.Font(11), Cell(where, i), Theme.Faint, Align.Right);
            }
        }

        protected override void DrawRow(Graphics g, int row, Rectangle where)
        {
            ClassCount count = _counts[row];
            int chip = Theme.Px(10);
            FillRound(g, new Rectangle(where.X, where.Y + (where.Height - chip) / 2, chip, chip), Theme.Px(3), Theme.ClassColor(row));
            DrawText(g, _names[row], Theme.Body, NamePlace(where, Theme.Px(18)), Theme.Text);
            Number(g, count.Now, Cell(where, 0), count.Now > 0 ? Theme.Text : Theme.Faint);
            Number(g, count.Objects, Cell(where, 1), Theme.Muted);
            Number(g, count.Ok, Cell(where, 2), count.Ok > 0 ? Theme.Good : Theme.Faint);
            Number(g, count.Ng, Cell(where, 3), count.Ng > 0 ? Theme.Bad : Theme.Faint);
        }

        private static void Number(Graphics g, long number, Rectangle where, Color color)
        {
            DrawText(g, number.ToString(CultureInfo.InvariantCulture), Theme.Body, where, color, Align.Right);
        }

        private static Rectangle Cell(Rectangle where, int column)
        {
            int width = where.Width * 17 / 100;
            return new Rectangle(where.Right - (4 - column) * width, where.Y, width, where.Height);
        }

        private static Rectangle NamePlace(Rectangle where, int indent)
        {
            return Rectangle.FromLTRB(where.Left + indent, where.Top, Cell(where, 0).Left + Theme.Px(14), where.Bottom);
        }
    }
}
