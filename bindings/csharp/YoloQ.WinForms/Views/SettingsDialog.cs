// SPDX-License-Identifier: Apache-2.0
using System;
using System.Drawing;
using System.Linq;
using System.Threading;
using System.Windows.Forms;
using YoloQ.WinForms.Model;

namespace YoloQ.WinForms.Views
{
    /// <summary>Everything that is set once: display, inspection, NG pictures, PLC.</summary>
    public sealed class SettingsDialog : SheetForm
    {
        private readonly AppSettings _settings;
        private readonly Choice _language = new Choice("settingsLanguage");
        private readonly Choice _theme = new Choice("settingsTheme");
        private readonly Stepper _scale = new Stepper("settingsScale", 75, 250, 25, "0", "unit.percent");
        private readonly Toggle _loop = new Toggle("settingsLoop", "settings.loop");
        private readonly Toggle _latch = new Toggle("settingsLatch", "settings.latch");
        private readonly Toggle _stopOnNg = new Toggle("settingsStopOnNg", "settings.stop_on_ng");
        private readonly Choice _backend = new Choice("settingsBackend");
        private readonly Field _device = new Field("settingsDevice");
        private readonly Stepper _timeout = new Stepper("settingsTimeout", 10, 600000, 0, "0", "unit.ms");
        private readonly Toggle _saveNg = new Toggle("settingsSaveNg", "settings.save_ng");
        private readonly Field _ngFolder = new Field("settingsNgFolder");
        private readonly Choice _ngFormat = new Choice("settingsNgFormat");
        private readonly Stepper _ngLimit = new Stepper("settingsNgLimit", 1, 10000000, 0, "0", "unit.mb");
        private readonly Toggle _plcOn = new Toggle("settingsPlcOn", "settings.plc_on");
        private readonly Choice _plcRole = new Choice("settingsPlcRole");
        private readonly Field _plcHost = new Field("settingsPlcHost");
        private readonly Stepper _plcPort = new Stepper("settingsPlcPort", 1, 65535, 1, "0");
        private readonly Stepper _plcUnit = new Stepper("settingsPlcUnit", 0, 255, 1, "0");
        private readonly Choice _plcTrigger = new Choice("settingsPlcTrigger");

        public SettingsDialog(AppSettings settings) : base("settings", "settings.title", 860, 560)
        {
            _settings = settings;
            FillChoices();
            Read();
            var columns = new TableLayoutPanel { Dock = DockStyle.Fill, ColumnCount = 2, RowCount = 1, BackColor = Theme.Card };
            columns.ColumnStyles.Add(new ColumnStyle(SizeType.Percent, 50));
            columns.ColumnStyles.Add(new ColumnStyle(SizeType.Percent, 50));
            columns.RowStyles.Add(new RowStyle(SizeType.Percent, 100));
            TableLayoutPanel left = Column(new Padding(0, 0, Theme.Px(16), 0));
            Head(left, "settings.display");
            Row(left, "settings.language", _language);
            Row(left, "settings.theme", _theme);
            Row(left, "settings.scale", _scale);
            Head(left, "settings.inspection");
            Row(left, null, _loop);
            Row(left, null, _latch);
            Row(left, null, _stopOnNg);
            Row(left, "settings.backend", _backend);
            Row(left, "settings.device", _device);
            Row(left, "settings.timeout", _timeout);
            Rest(left);
            TableLayoutPanel right = Column(new Padding(Theme.Px(16), 0, 0, 0));
            Head(right, "settings.ng");
            Row(right, null, _saveNg);
            Row(right, "settings.ng_folder", _ngFolder);
            Row(right, "settings.ng_format", _ngFormat);
            Row(right, "settings.ng_limit", _ngLimit);
            Head(right, "settings.plc");
            Row(right, null, _plcOn);
            Row(right, "settings.plc_role", _plcRole);
            Row(right, "settings.plc_host", _plcHost);
            Row(right, "settings.plc_port", _plcPort);
            Row(right, "settings.plc_unit", _plcUnit);
            Row(right, "settings.plc_trigger", _plcTrigger);
            Rest(right);
            columns.Controls.Add(left, 0, 0);
            columns.Controls.Add(right, 1, 0);
            Body.Controls.Add(columns);
        }

        /// <summary>Takes what was entered over into the settings.</summary>
        public void Write()
        {
            _settings.Language = _language.Value;
            _settings.DarkTheme = _theme.Value == "dark";
            _settings.ScalePercent = (int)_scale.Number;
            _settings.Loop = _loop.Checked;
            _settings.LatchAlarm = _latch.Checked;
            _settings.StopOnNg = _stopOnNg.Checked;
            _settings.Backend = _backend.Value;
            _settings.Device = _device.Value.Trim();
            _settings.TimeoutMs = (int)_timeout.Number;
            _settings.SaveNg = _saveNg.Checked;
            _settings.NgFolder = _ngFolder.Value.Trim();
            _settings.NgFormat = _ngFormat.Value;
            _settings.NgLimitMegabytes = (int)_ngLimit.Number;
            _settings.Plc.Enabled = _plcOn.Checked;
            _settings.Plc.Server = _plcRole.Value == "server";
            _settings.Plc.Host = _plcHost.Value;
            _settings.Plc.Port = (int)_plcPort.Number;
            _settings.Plc.Unit = (int)_plcUnit.Number;
            _settings.Plc.Triggered = _plcTrigger.Value == "plc";
            _settings.Normalize();
        }

        private void FillChoices()
        {
            _language.Add("auto", Texts.Get("settings.language_auto"));
            _language.Add("en", "English");
            _language.Add("zh", "简体中文");
            _theme.Add("dark", Texts.Get("settings.dark"));
            _theme.Add("light", Texts.Get("settings.light"));
            _backend.Add("", Texts.Get("settings.backend_auto"));
            _ngFormat.Add("png", Texts.Get("settings.png"));
            _ngFormat.Add("jpg", Texts.Get("settings.jpg"));
            _plcRole.Add("server", Texts.Get("settings.plc_server"));
            _plcRole.Add("client", Texts.Get("settings.plc_client"));
            _plcTrigger.Add("rate", Texts.Get("settings.trigger_rate"));
            _plcTrigger.Add("plc", Texts.Get("settings.trigger_plc"));
        }

        protected override void OnShown(EventArgs e)
        {
            base.OnShown(e);
            ThreadPool.QueueUserWorkItem(state => ListBackends());
        }

        /// <summary>On another thread: each backend is loaded, and a chip's SDK takes its time.</summary>
        private void ListBackends()
        {
            try
            {
                string[] names = Library.Backends.Select(backend => backend.Name).ToArray();
                BeginInvoke((Action)(() => Array.ForEach(names, name => _backend.Add(name, name))));
            }
            catch (YoloException)
            {
                // no native library: the package will say so; the settings open all the same
            }
            catch (InvalidOperationException)
            {
                // closed meanwhile
            }
        }

        private void Read()
        {
            _language.Value = _settings.Language;
            _theme.Value = _settings.DarkTheme ? "dark" : "light";
            _scale.Number = _settings.ScalePercent;
            _loop.Checked = _settings.Loop;
            _latch.Checked = _settings.LatchAlarm;
            _stopOnNg.Checked = _settings.StopOnNg;
            _backend.Value = _settings.Backend;
            _device.Value = _settings.Device;
            _timeout.Number = _settings.TimeoutMs;
            _saveNg.Checked = _settings.SaveNg;
            _ngFolder.Value = _settings.NgFolder;
            _ngFormat.Value = _settings.NgFormat;
            _ngLimit.Number = _settings.NgLimitMegabytes;
            _plcOn.Checked = _settings.Plc.Enabled;
            _plcRole.Value = _settings.Plc.Server ? "server" : "client";
            _plcHost.Value = _settings.Plc.Host;
            _plcPort.Number = _settings.Plc.Port;
            _plcUnit.Number = _settings.Plc.Unit;
            _plcTrigger.Value = _settings.Plc.Triggered ? "plc" : "rate";
        }

        private static TableLayoutPanel Column(Padding margin)
        {
            var column = new TableLayoutPanel { Dock = DockStyle.Fill, ColumnCount = 2, Margin = margin, BackColor = Theme.Card };
            column.ColumnStyles.Add(new ColumnStyle(SizeType.Absolute, Theme.Px(138)));
            column.ColumnStyles.Add(new ColumnStyle(SizeType.Percent, 100));
            return column;
        }

        private static void Head(TableLayoutPanel column, string key)
        {
            int row = AddRow(column, 34);
            var head = new Caption(key, true);
            column.Controls.Add(head, 0, row);
            column.SetColumnSpan(head, 2);
        }

        private static void Row(TableLayoutPanel column, string key, Control control)
        {
            int row = AddRow(column, key == null ? 34 : 38);
            control.Dock = DockStyle.Fill;
            control.Margin = new Padding(0, Theme.Px(3), 0, Theme.Px(3));
            if (key == null)
            {
                column.Controls.Add(control, 0, row);
                column.SetColumnSpan(control, 2);
                return;
            }
            column.Controls.Add(new Caption(key), 0, row);
            column.Controls.Add(control, 1, row);
        }

        private static void Rest(TableLayoutPanel column)
        {
            column.RowCount++;
            column.RowStyles.Add(new RowStyle(SizeType.Percent, 100));
        }

        private static int AddRow(TableLayoutPanel column, int height)
        {
            column.RowStyles.Add(new RowStyle(SizeType.Absolute, Theme.Px(height)));
            column.RowCount = column.RowStyles.Count;
            return column.RowCount - 1;
        }
    }
}
