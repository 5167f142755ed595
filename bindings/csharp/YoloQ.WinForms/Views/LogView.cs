// SPDX-License-Identifier: Apache-2.0
using System.Collections.Generic;
using System.Drawing;
using System.Globalization;
using YoloQ.WinForms.Model;

namespace YoloQ.WinForms.Views
{
    /// <summary>The event log; follows the newest event unless the user has scrolled back.</summary>
    public sealed class LogView : ScrollingList
    {
        private readonly Journal _log;
        private readonly List<JournalEntry> _entries = new List<JournalEntry>();
        private long _version = -1;

        public LogView(string name, Journal log)
        {
            Name = name;
            _log = log;
        }

        protected override int RowCount
        {
            get { return _entries.Count; }
        }

        /// <summary>Takes over new events, if there are any.</summary>
        public void Reload()
        {
            if (_version == _log.Version)
            {
                return;
            }
            bool follow = AtEnd;
            _version = _log.Version;
            _log.CopyTo(_entries);
            if (follow)
            {
                ScrollToEnd();
            }
            Invalidate();
        }

        protected override void DrawRow(Graphics g, int row, Rectangle where)
        {
            JournalEntry entry = _entries[row];
            Color color = entry.Level == Severity.Error ? Theme.Bad : entry.Level == Severity.Warning ? Theme.Warn
                : entry.Level == Severity.Good ? Theme.Good : Theme.Faint;
            int lamp = Theme.Px(8), time = Theme.Px(60);
            FillRound(g, new Rectangle(where.X, where.Y + (where.Height - lamp) / 2, lamp, lamp), lamp / 2, color);
            var clock = new Rectangle(where.X + Theme.Px(16), where.Y, time, where.Height);
            DrawText(g, entry.Time.ToString("HH:mm:ss", CultureInfo.InvariantCulture), Theme.Small, clock, Theme.Muted);
            DrawText(g, entry.Text, Theme.Small, Rectangle.FromLTRB(clock.Right, where.Top, where.Right, where.Bottom), Theme.Text);
        }
    }
}
