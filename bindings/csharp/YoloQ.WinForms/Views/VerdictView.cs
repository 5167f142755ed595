// SPDX-License-Identifier: Apache-2.0
using System.Drawing;
using System.Globalization;
using YoloQ.WinForms.Model;

namespace YoloQ.WinForms.Views
{
    public enum VerdictState
    {
        None,
        Ok,
        Ng,
        Fault
    }

    /// <summary>The newest picture's verdict in large, and the totals beside it.</summary>
    public sealed class VerdictView : FlatControl
    {
        private readonly Counters _counters;
        private long _ok, _ng, _errors;
        private VerdictState _state;

        public VerdictView(string name, Counters counters)
        {
            Name = name;
            _counters = counters;
            Dock = System.Windows.Forms.DockStyle.Fill;
        }

        public void Reload(VerdictState state)
        {
            long ok = _counters.Ok, ng = _counters.Ng, errors = _counters.Errors;
            if (ok == _ok && ng == _ng && errors == _errors && state == _state)
            {
                return;
            }
            _ok = ok;
            _ng = ng;
            _errors = errors;
            _state = state;
            AccessibleDescription = state.ToString();
            Invalidate();
        }

        protected override void Draw(Graphics g)
        {
            int side = Theme.Px(116);
            var lamp = new Rectangle(0, 0, side, Height);
            Color color = _state == VerdictState.Ok ? Theme.Good : _state == VerdictState.Ng ? Theme.Bad
                : _state == VerdictState.Fault ? Theme.Warn : Theme.Field;
            FillRound(g, lamp, Theme.Px(8), color);
            string word = _state == VerdictState.Ok ? "OK" : _state == VerdictState.Ng ? "NG"
                : _state == VerdictState.Fault ? Texts.Get("verdict.fault") : "—";
            Color ink = _state == VerdictState.None ? Theme.Faint : Theme.OnColor;
            DrawText(g, word, Theme.Font(_state == VerdictState.Fault ? 28 : 44, true), lamp, ink, Align.Center);
            var rest = Rectangle.FromLTRB(lamp.Right + Theme.Px(12), 0, Width, Height);
            int half = rest.Width / 2, row = rest.Height / 2;
            Tile(g, new Rectangle(rest.X, 0, half, row), "verdict.ok", Format(_ok), Theme.Good);
            Tile(g, new Rectangle(rest.X + half, 0, half, row), "verdict.ng", Format(_ng), Theme.Bad);
            Tile(g, new Rectangle(rest.X, row, half, row), "verdict.yield", Yield(), Theme.Text);
            Tile(g, new Rectangle(rest.X + half, row, half, row), "verdict.errors", Format(_errors), _errors > 0 ? Theme.Warn : Theme.Text);
        }

        private static void Tile(Graphics g, Rectangle where, string key, string value, Color color)
        {
            int head = Theme.Px(16);
            DrawText(g, Texts.Get(key), Theme.Font(11), new Rectangle(where.X, where.Y + Theme.Px(2), where.Width, head), Theme.Muted);
            var place = Rectangle.FromLTRB(where.Left, where.Top + head, where.Right, where.Bottom - Theme.Px(2));
            DrawText(g, value, Theme.Font(value.Length > 6 ? 16 : 20, true), place, color);
        }

        private string Yield()
        {
            long all = _ok + _ng;
            return all == 0 ? "—" : (100.0 * _ok / all).ToString("0.0", CultureInfo.InvariantCulture) + " %";
        }

        private static string Format(long number)
        {
            return number.ToString(CultureInfo.InvariantCulture);
        }
    }
}
