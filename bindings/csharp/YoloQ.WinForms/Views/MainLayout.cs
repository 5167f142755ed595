// SPDX-License-Identifier: Apache-2.0
using System.Collections.Generic;
using System.Drawing;
using System.Windows.Forms;
using YoloQ.WinForms.Inspection;
using YoloQ.WinForms.Model;

namespace YoloQ.WinForms.Views
{
    /// <summary>The main window's controls and their places; <see cref="MainForm"/> gives them life.</summary>
    public sealed class MainLayout : TableLayoutPanel
    {
        public readonly FlatButton Package = new FlatButton("package", "bar.package", Glyph.Package);
        public readonly FlatButton Picture = new FlatButton("picture", "bar.picture", Glyph.Picture);
        public readonly FlatButton Folder = new FlatButton("folder", "bar.folder", Glyph.Folder);
        public readonly FlatButton Run = new FlatButton("run", "bar.start", Glyph.Play, ButtonKind.Primary);
        public readonly FlatButton Single = new FlatButton("single", "bar.step", Glyph.Step);
        public readonly Stepper Rate = new Stepper("rate", AppSettings.MinRate, AppSettings.MaxRate, 0, "0.##", "unit.fps");
        public readonly FlatButton Language = new FlatButton("language", "", Glyph.None, ButtonKind.Quiet);
        public readonly FlatButton ThemeSwitch = new FlatButton("theme", "", Glyph.Sun, ButtonKind.Quiet);
        public readonly FlatButton Settings = new FlatButton("openSettings", "", Glyph.Gear, ButtonKind.Quiet);

        public readonly PictureView View = new PictureView("view");
        public readonly FlatButton Fit = new FlatButton("fit", "view.fit", Glyph.None, ButtonKind.Quiet);
        public readonly FlatButton OneToOne = new FlatButton("oneToOne", "", Glyph.None, ButtonKind.Quiet);
        public readonly Card ViewCard = new Card("view.title");

        public readonly VerdictView Verdict;
        public readonly AlarmBar Alarm = new AlarmBar("alarm");
        public readonly FlatButton Acknowledge = new FlatButton("acknowledge", "alarm.ack", Glyph.Check, ButtonKind.Danger);
        public readonly FlatButton Reset = new FlatButton("reset", "alarm.reset", Glyph.None, ButtonKind.Quiet);
        public readonly Slider Score = new Slider("score", "thresholds.score", AppSettings.MinThreshold, AppSettings.MaxThreshold);
        public readonly Slider Iou = new Slider("iou", "thresholds.iou", AppSettings.MinThreshold, AppSettings.MaxThreshold);
        public readonly ClassTable Classes;
        public readonly Card ClassCard = new Card("classes.title");
        public readonly FlatButton Rules = new FlatButton("openRules", "classes.rules");
        public readonly FactsView Health = new FactsView("health", 2, "health.device", "health.temperature", "health.power",
            "health.load", "health.memory", "health.p50", "health.p99", "health.timeouts", "health.lost", "health.saved");
        public readonly FactsView Plc = new FactsView("plc", 1, "plc.address", "plc.trigger");
        public readonly PlcLamp PlcLamp = new PlcLamp("plcLamp");

        public readonly ChartView Latency, Throughput;
        public readonly LogView Log;
        public readonly StatusLine Status = new StatusLine("status");

        private readonly TitleView _title = new TitleView();
        private readonly FlowBar _bar = new FlowBar();

        public MainLayout(Station station)
        {
            Verdict = new VerdictView("verdict", station.Counters);
            Classes = new ClassTable("classes", station.Counters);
            Latency = new ChartView("latency", station.Latency, "unit.ms_picture", () => Theme.Accent);
            Throughput = new ChartView("throughput", station.Throughput, "unit.pictures_second", () => Theme.Good);
            Log = new LogView("log", station.Log);
            OneToOne.SetCaption("1:1");
            Dock = DockStyle.Fill;
            int edge = Theme.Px(8);
            Padding = new Padding(edge, Theme.Px(6), edge, 0);
            Columns(this, -100);
            Rows(this, 48, -100, 26);
            Controls.Add(MakeBar(), 0, 0);
            var middle = Grid(new float[] { -100, 352 }, new float[] { -100 });
            middle.Controls.Add(MakeLeft(), 0, 0);
            middle.Controls.Add(MakeRight(), 1, 0);
            Controls.Add(middle, 0, 1);
            Controls.Add(Status, 0, 2);
            ApplyTheme();
        }

        /// <summary>After a change of language: texts differ in width.</summary>
        public void ApplyTexts()
        {
            foreach (FlatButton button in All<FlatButton>(this))
            {
                button.UpdateText();
            }
            _bar.Arrange();
            Invalidate(true);
        }

        public void ApplyTheme()
        {
            BackColor = Theme.Window;
            foreach (Control control in All<Control>(this))
            {
                if (control is TableLayoutPanel || control is FlowBar)
                {
                    control.BackColor = control.Parent is Card ? Theme.Card : control.Parent.BackColor;
                }
            }
            Rate.ApplyTheme();
            Invalidate(true);
        }

        private Control MakeBar()
        {
            _bar.Add(Package, 0);
            _bar.Add(Picture, 0);
            _bar.Add(Folder, 0);
            _bar.Add(Run, 16);
            _bar.Add(Single, 0);
            Rate.Size = new Size(Theme.Px(150), Theme.Px(34));
            _bar.Add(Rate, 0);
            var right = new FlowBar { FromRight = true };
            right.Add(Settings, 0);
            right.Add(ThemeSwitch, 0);
            right.Add(Language, 0);
            TableLayoutPanel bar = Grid(new float[] { 214, -100, 136 }, new float[] { -100 });
            bar.Controls.Add(_title, 0, 0);
            bar.Controls.Add(_bar, 1, 0);
            bar.Controls.Add(right, 2, 0);
            return bar;
        }

        private Control MakeLeft()
        {
            TableLayoutPanel left = Grid(new float[] { -100 }, new float[] { -100, 196 });
            var head = new FlowBar { FromRight = true, Small = true };
            OneToOne.Width = Theme.Px(40);
            head.Add(OneToOne, 0);
            head.Add(Fit, 0);
            Titled(ViewCard, View, head, 120);
            left.Controls.Add(ViewCard, 0, 0);
            TableLayoutPanel bottom = Grid(new float[] { -29, -29, -42 }, new float[] { -100 });
            bottom.Controls.Add(InCard("chart.latency", Latency), 0, 0);
            bottom.Controls.Add(InCard("chart.throughput", Throughput), 1, 0);
            bottom.Controls.Add(InCard("log.title", Log), 2, 0);
            left.Controls.Add(bottom, 0, 1);
            return left;
        }

        private Control MakeRight()
        {
            TableLayoutPanel right = Grid(new float[] { -100 }, new float[] { 160, 126, -100, 146, 92 });
            TableLayoutPanel verdict = Grid(new float[] { -100, 126 }, new float[] { -100, 40 });
            verdict.Controls.Add(Verdict, 0, 0);
            verdict.SetColumnSpan(Verdict, 2);
            verdict.Controls.Add(Alarm, 0, 1);
            Acknowledge.Dock = DockStyle.Fill;
            Acknowledge.Margin = new Padding(Theme.Px(6), Theme.Px(10), 0, 0);
            verdict.Controls.Add(Acknowledge, 1, 1);
            right.Controls.Add(InCard("", verdict), 0, 0);
            TableLayoutPanel sliders = Grid(new float[] { -100 }, new float[] { -50, -50 });
            sliders.Controls.Add(Score, 0, 0);
            sliders.Controls.Add(Iou, 0, 1);
            right.Controls.Add(InCard("thresholds.title", sliders), 0, 1);
            var head = new FlowBar { FromRight = true, Small = true };
            head.Add(Rules, 0);
            head.Add(Reset, 0);
            Titled(ClassCard, Classes, head, 150);
            right.Controls.Add(ClassCard, 0, 2);
            right.Controls.Add(InCard("health.title", Health), 0, 3);
            var plcCard = new Card("plc.title");
            Titled(plcCard, Plc, PlcLamp, 130);
            right.Controls.Add(plcCard, 0, 4);
            return right;
        }

        private static Card InCard(string titleKey, Control content)
        {
            var card = new Card(titleKey);
            content.Dock = DockStyle.Fill;
            card.Controls.Add(content);
            return card;
        }

        /// <summary>A card with controls at the right end of its title line.</summary>
        private static void Titled(Card card, Control content, Control head, int reserve)
        {
            card.TitleReserve = Theme.Px(reserve);
            content.Dock = DockStyle.Fill;
            card.Controls.Add(content);
            card.Controls.Add(head);
            head.Anchor = AnchorStyles.Top | AnchorStyles.Right;
            card.Layout += (sender, e) =>
                head.SetBounds(card.Width - Theme.Px(reserve + 8), Theme.Px(6), Theme.Px(reserve), Theme.Px(28));
        }

        /// <summary>Positive numbers are lengths at 96 dots per inch, negative ones percents.</summary>
        private static TableLayoutPanel Grid(float[] columns, float[] rows)
        {
            var grid = new TableLayoutPanel { Dock = DockStyle.Fill, Margin = new Padding(0) };
            Columns(grid, columns);
            Rows(grid, rows);
            return grid;
        }

        private static void Columns(TableLayoutPanel grid, params float[] widths)
        {
            grid.ColumnCount = widths.Length;
            foreach (float width in widths)
            {
                grid.ColumnStyles.Add(width < 0 ? new ColumnStyle(SizeType.Percent, -width) : new ColumnStyle(SizeType.Absolute, Theme.Px(width)));
            }
        }

        private static void Rows(TableLayoutPanel grid, params float[] heights)
        {
            grid.RowCount = heights.Length;
            foreach (float height in heights)
            {
                grid.RowStyles.Add(height < 0 ? new RowStyle(SizeType.Percent, -height) : new RowStyle(SizeType.Absolute, Theme.Px(height)));
            }
        }

        private static IEnumerable<T> All<T>(Control parent) where T : Control
        {
            foreach (Control child in parent.Controls)
            {
                var wanted = child as T;
                if (wanted != null)
                {
                    yield return wanted;
                }
                foreach (T inner in All<T>(child))
                {
                    yield return inner;
                }
            }
        }
    }
}
