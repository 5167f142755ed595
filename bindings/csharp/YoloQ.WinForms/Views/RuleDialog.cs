// SPDX-License-Identifier: Apache-2.0
using System.Collections.Generic;
using System.Drawing;
using System.Linq;
using System.Windows.Forms;
using YoloQ.WinForms.Model;

namespace YoloQ.WinForms.Views
{
    /// <summary>The rule editor: which class, how many, above which score makes a picture NG.</summary>
    public sealed class RuleDialog : SheetForm
    {
        private readonly IReadOnlyList<string> _classNames;
        private readonly List<Rule> _rules;
        private readonly TableLayoutPanel _rows = new TableLayoutPanel();

        public RuleDialog(IEnumerable<Rule> rules, IReadOnlyList<string> classNames) : base("rules", "rules.title", 660)
        {
            _classNames = classNames;
            _rules = rules.Select(rule => rule.Copy()).ToList();
            _rows.ColumnCount = 6;
            _rows.Dock = DockStyle.Fill;
            _rows.AutoScroll = true;
            _rows.BackColor = Theme.Card;
            float[] widths = { 44, 0, 150, 104, 116, 40 };
            foreach (float width in widths)
            {
                _rows.ColumnStyles.Add(width == 0 ? new ColumnStyle(SizeType.Percent, 100) : new ColumnStyle(SizeType.Absolute, Theme.Px(width)));
            }
            Body.Controls.Add(_rows);
            FlatButton add = AddFootButton("rulesAdd", "rules.add", Glyph.Plus, ButtonKind.Normal, true);
            add.Click += (sender, e) =>
            {
                _rules.Add(new Rule { ClassName = _classNames.Count == 1 ? _classNames[0] : "" });
                Fill();
            };
            Fill();
        }

        /// <summary>The rules as edited.</summary>
        public IReadOnlyList<Rule> Rules
        {
            get { return _rules; }
        }

        private void Fill()
        {
            _rows.SuspendLayout();
            foreach (Control old in _rows.Controls.Cast<Control>().ToList())
            {
                old.Dispose();
            }
            _rows.RowStyles.Clear();
            _rows.RowCount = _rules.Count + 3;
            _rows.RowStyles.Add(new RowStyle(SizeType.Absolute, Theme.Px(26)));
            string[] heads = { "rules.on", "rules.class", "rules.when", "rules.count", "rules.score" };
            for (int i = 0; i < heads.Length; i++)
            {
                _rows.Controls.Add(new Caption(heads[i]), i, 0);
            }
            for (int i = 0; i < _rules.Count; i++)
            {
                _rows.RowStyles.Add(new RowStyle(SizeType.Absolute, Theme.Px(40)));
                AddRow(i);
            }
            _rows.RowStyles.Add(new RowStyle(SizeType.Absolute, Theme.Px(40)));
            _rows.RowStyles.Add(new RowStyle(SizeType.Percent, 100));
            _rows.Controls.Add(new Caption(_rules.Count == 0 ? "rules.none" : "rules.hint"), 0, _rules.Count + 1);
            _rows.SetColumnSpan(_rows.GetControlFromPosition(0, _rules.Count + 1), 6);
            _rows.ResumeLayout(true);
        }

        private void AddRow(int index)
        {
            Rule rule = _rules[index];
            var on = new Toggle("ruleOn" + index, "") { Checked = rule.Enabled };
            on.Changed += (sender, e) => rule.Enabled = on.Checked;
            var name = new Choice("ruleClass" + index);
            name.Add("", Texts.Get("rules.any"));
            foreach (string className in _classNames)
            {
                name.Add(className, className);
            }
            name.Value = rule.ClassName;
            name.Changed += (sender, e) => rule.ClassName = name.Value;
            var when = new Choice("ruleWhen" + index);
            when.Add("AtLeast", Texts.Get("rules.at_least"));
            when.Add("FewerThan", Texts.Get("rules.fewer"));
            when.Value = rule.Comparison.ToString();
            when.Changed += (sender, e) => rule.Comparison = when.Value == "AtLeast" ? Comparison.AtLeast : Comparison.FewerThan;
            var count = new Stepper("ruleCount" + index, 1, 9999, 1, "0") { Number = rule.Count };
            count.Committed += (sender, e) => rule.Count = (int)count.Number;
            var score = new Stepper("ruleScore" + index, 0, 1, 0.05, "0.00") { Number = rule.MinScore };
            score.Committed += (sender, e) => rule.MinScore = (float)score.Number;
            var remove = new FlatButton("ruleRemove" + index, "", Glyph.Bin, ButtonKind.Quiet);
            remove.Click += (sender, e) => BeginInvoke((MethodInvoker)(() => Remove(rule))); // not from within its own click
            Control[] cells = { on, name, when, count, score, remove };
            for (int column = 0; column < cells.Length; column++)
            {
                cells[column].Dock = DockStyle.Fill;
                cells[column].Margin = new Padding(0, Theme.Px(4), Theme.Px(8), Theme.Px(4));
                _rows.Controls.Add(cells[column], column, index + 1);
            }
        }

        private void Remove(Rule rule)
        {
            _rules.Remove(rule);
            Fill();
        }
    }
}
