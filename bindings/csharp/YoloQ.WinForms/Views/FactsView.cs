// SPDX-License-Identifier: Apache-2.0
using System.Collections.Generic;
using System.Drawing;
using System.Windows.Forms;

namespace YoloQ.WinForms.Views
{
    /// <summary>Names and values in two columns; a value that is not known reads "—".</summary>
    public sealed class FactsView : FlatControl
    {
        public const string Unknown = "—";
        private readonly string[] _keys;
        private readonly string[] _values;
        private readonly int _columns;

        public FactsView(string name, int columns, params string[] keys)
        {
            Name = name;
            _columns = columns;
            _keys = keys;
            _values = new string[keys.Length];
            Dock = DockStyle.Fill;
        }

        public void Set(string key, string value)
        {
            int at = System.Array.IndexOf(_keys, key);
            if (_values[at] != value)
            {
                _values[at] = value;
                AccessibleDescription = string.Join("; ", Pairs());
                Invalidate();
            }
        }

        protected override void Draw(Graphics g)
        {
            int rows = (_keys.Length + _columns - 1) / _columns;
            int height = Height / rows, width = Width / _columns, gap = Theme.Px(14);
            for (int i = 0; i < _keys.Length; i++)
            {
                int column = i / rows;
                var where = new Rectangle(column * width, i % rows * height, width - (column < _columns - 1 ? gap : 0), height);
                string name = Texts.Get(_keys[i]);
                int wide = Measure(g, name, Theme.Small).Width + Theme.Px(8);
                DrawText(g, name, Theme.Small, where, Theme.Muted);
                var rest = Rectangle.FromLTRB(where.Left + wide, where.Top, where.Right, where.Bottom);
                string value = string.IsNullOrEmpty(_values[i]) ? Unknown : _values[i];
                DrawText(g, value, Theme.Small, rest, value == Unknown ? Theme.Faint : Theme.Text, Align.Right);
            }
        }

        private IEnumerable<string> Pairs()
        {
            for (int i = 0; i < _keys.Length; i++)
            {
                yield return _keys[i] + "=" + _values[i];
            }
        }
    }
}
