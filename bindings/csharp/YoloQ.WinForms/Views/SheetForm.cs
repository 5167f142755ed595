// SPDX-License-Identifier: Apache-2.0
using System.Drawing;
using System.Windows.Forms;

namespace YoloQ.WinForms.Views
{
    /// <summary>A muted line of text.</summary>
    public sealed class Caption : FlatControl
    {
        private readonly string _key;
        private readonly bool _strong;

        public Caption(string key, bool strong = false)
        {
            _key = key;
            _strong = strong;
            Dock = DockStyle.Fill;
            Name = "caption:" + key;
        }

        protected override void Draw(Graphics g)
        {
            Text = Texts.Get(_key);
            DrawText(g, Text, _strong ? Theme.Font(13, true) : Theme.Small, new Rectangle(0, 0, Width, Height), _strong ? Theme.Text : Theme.Muted);
        }
    }

    /// <summary>A dialog: title, body, and a foot with Cancel and OK.</summary>
    public class SheetForm : Form
    {
        private readonly TableLayoutPanel _foot = new TableLayoutPanel();

        public SheetForm(string name, string titleKey, int width, int height = 440)
        {
            Name = name;
            Text = Texts.Get(titleKey);
            FormBorderStyle = FormBorderStyle.FixedDialog;
            StartPosition = FormStartPosition.CenterParent;
            MinimizeBox = MaximizeBox = ShowInTaskbar = false;
            AutoScaleMode = AutoScaleMode.None; // Theme.Px scales
            BackColor = Theme.CardLine; // a thin line around, where the window manager draws no frame
            Padding = new Padding(1);
            Font = Theme.Body;
            ClientSize = new Size(Theme.Px(width), Theme.Px(height));
            var root = new TableLayoutPanel { Dock = DockStyle.Fill, ColumnCount = 1, RowCount = 3, BackColor = Theme.Card };
            root.Padding = new Padding(Theme.Px(20), Theme.Px(14), Theme.Px(20), Theme.Px(16));
            root.ColumnStyles.Add(new ColumnStyle(SizeType.Percent, 100));
            root.RowStyles.Add(new RowStyle(SizeType.Absolute, Theme.Px(38)));
            root.RowStyles.Add(new RowStyle(SizeType.Percent, 100));
            root.RowStyles.Add(new RowStyle(SizeType.Absolute, Theme.Px(46)));
            Body = new Panel { Dock = DockStyle.Fill, Margin = new Padding(0), BackColor = Theme.Card };
            root.Controls.Add(new Heading(titleKey), 0, 0);
            root.Controls.Add(Body, 0, 1);
            root.Controls.Add(_foot, 0, 2);
            Controls.Add(root);
            MakeFoot();
        }

        /// <summary>Where a subclass puts its controls.</summary>
        protected Panel Body { get; private set; }

        /// <summary>A further button, at the left or beside Cancel.</summary>
        protected FlatButton AddFootButton(string name, string key, Glyph icon, ButtonKind kind, bool left)
        {
            var button = new FlatButton(name, key, icon, kind);
            button.Width = NaturalWidth(button);
            button.Margin = new Padding(left ? 0 : Theme.Px(8), Theme.Px(12), 0, 0);
            button.Dock = DockStyle.Fill;
            int column = left ? 0 : kind == ButtonKind.Primary ? 3 : 2;
            _foot.ColumnStyles[column] = new ColumnStyle(SizeType.Absolute, button.Width + button.Margin.Left);
            _foot.Controls.Add(button, column, 0);
            return button;
        }

        private void MakeFoot()
        {
            _foot.Dock = DockStyle.Fill;
            _foot.Margin = new Padding(0);
            _foot.BackColor = Theme.Card;
            _foot.RowCount = 1;
            _foot.ColumnCount = 4;
            for (int i = 0; i < 4; i++)
            {
                _foot.ColumnStyles.Add(i == 1 ? new ColumnStyle(SizeType.Percent, 100) : new ColumnStyle(SizeType.Absolute, 0));
            }
            _foot.RowStyles.Add(new RowStyle(SizeType.Percent, 100));
            FlatButton cancel = AddFootButton(Name + "Cancel", "dialog.cancel", Glyph.None, ButtonKind.Normal, false);
            FlatButton ok = AddFootButton(Name + "Ok", "dialog.ok", Glyph.Check, ButtonKind.Primary, false);
            cancel.DialogResult = DialogResult.Cancel;
            ok.DialogResult = DialogResult.OK;
            CancelButton = cancel;
        }

        private int NaturalWidth(FlatButton button)
        {
            using (var bitmap = new Bitmap(1, 1))
            using (Graphics g = Graphics.FromImage(bitmap))
            {
                return System.Math.Max(Theme.Px(96), button.NaturalWidth(g) + Theme.Px(10));
            }
        }

        private sealed class Heading : FlatControl
        {
            private readonly string _key;

            public Heading(string key)
            {
                _key = key;
                Dock = DockStyle.Fill;
                Name = "heading";
            }

            protected override void Draw(Graphics g)
            {
                DrawText(g, Texts.Get(_key), Theme.Font(17, true), new Rectangle(0, 0, Width, Theme.Px(28)), Theme.Text);
            }
        }
    }
}
