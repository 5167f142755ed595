// SPDX-License-Identifier: Apache-2.0
using System;
using System.Drawing;
using System.Globalization;
using System.Windows.Forms;
using YoloQ.WinForms.Inspection;
using YoloQ.WinForms.Model;

namespace YoloQ.WinForms.Views
{
    /// <summary>
    /// Shows what the station has, thirty times a second. It pulls: however fast the line runs, no messages pile up on the
    /// UI thread, and the newest frame wins.
    /// </summary>
    public sealed class MainScreen
    {
        private const int PeriodMs = 33;
        private const int SlowEvery = 8; // panels of text change four times a second

        private readonly MainLayout _layout;
        private readonly Station _station;
        private readonly AppSettings _settings;
        private readonly Timer _timer = new Timer { Interval = PeriodMs };
        private int _ticks;

        public MainScreen(MainLayout layout, Station station, AppSettings settings)
        {
            _layout = layout;
            _station = station;
            _settings = settings;
            _timer.Tick += (sender, e) => Tick();
            _timer.Start();
        }

        public void End()
        {
            _timer.Dispose();
        }

        /// <summary>Everything, now; after a change of language.</summary>
        public void ShowAll()
        {
            StationStatus status = _station.Status;
            ShowVerdict(status);
            ShowState(status);
            ShowHealth(status);
            ShowPlc();
            ShowStatusLine(status);
        }

        private void Tick()
        {
            StationStatus status = _station.Status;
            bool fresh = _station.Frames.Take();
            if (fresh)
            {
                InspectedFrame frame = _station.Frames.Front;
                _layout.View.Show(frame, status.ClassNames);
                _layout.ViewCard.Note = Describe(frame);
            }
            ShowVerdict(status);
            ShowState(status);
            if (_ticks++ % SlowEvery == 0)
            {
                ShowHealth(status);
                ShowPlc();
                ShowStatusLine(status);
                _layout.Classes.Reload(status.ClassNames);
                _layout.Latency.Reload();
                _layout.Throughput.Reload();
            }
            _layout.Log.Reload();
        }

        private void ShowVerdict(StationStatus status)
        {
            InspectedFrame frame = _station.Frames.Front;
            VerdictState verdict = status.Fault || frame.Error != null ? VerdictState.Fault
                : !frame.Inspected ? VerdictState.None
                : frame.Verdict.Ok ? VerdictState.Ok : VerdictState.Ng;
            _layout.Verdict.Reload(verdict);
            bool active = _station.Alarm.State == AlarmState.Active;
            string since = _station.Alarm.Since.ToString("HH:mm:ss", CultureInfo.InvariantCulture);
            string key = _station.Alarm.Fault ? "alarm.fault" : "alarm.active";
            _layout.Alarm.Set(active, active ? Texts.Format(key, _station.Alarm.Pending, since) : Texts.Get("alarm.clear"));
            _layout.Acknowledge.Enabled = active;
        }

        private void ShowState(StationStatus status)
        {
            bool running = status.State == StationState.Running;
            _layout.Run.Glyph = running ? Glyph.Stop : Glyph.Play;
            _layout.Run.Kind = running ? ButtonKind.Danger : ButtonKind.Primary;
            _layout.Run.SetCaption(Texts.Get(running ? "bar.stop" : "bar.start"));
            _layout.View.Loading = status.State == StationState.Loading;
            bool ready = status.Model != null && status.SourceName.Length > 0;
            _layout.Run.Enabled = running || ready;
            _layout.Single.Enabled = !running && ready;
            _layout.Iou.Enabled = status.Model == null || status.Model.NeedsNms;
            _layout.Iou.UseKey(_layout.Iou.Enabled ? "thresholds.iou" : "thresholds.iou_unused");
            _layout.Fit.On = _layout.View.IsFit;
            _layout.OneToOne.On = !_layout.View.IsFit && _layout.View.Zoom == 1;
        }

        private void ShowHealth(StationStatus status)
        {
            DetectorStatistics statistics = status.Statistics;
            FactsView health = _layout.Health;
            health.Set("health.device", status.Model == null ? null : status.Model.Backend + " " + status.Model.Device);
            health.Set("health.temperature", statistics == null ? null : Number(statistics.TemperatureC, "0.0", " °C"));
            health.Set("health.power", statistics == null ? null : Number(statistics.PowerW, "0.0", " W"));
            health.Set("health.load", statistics == null ? null : Number(statistics.UtilizationPercent, "0", " %"));
            health.Set("health.memory", Memory(statistics));
            bool measured = statistics != null && statistics.Pictures > 0;
            health.Set("health.p50", measured ? Number(statistics.Engine.P50Ms, "0.0", " ms") : null);
            health.Set("health.p99", measured ? Number(statistics.Engine.P99Ms, "0.0", " ms") : null);
            health.Set("health.timeouts", statistics == null ? null : statistics.Timeouts.ToString(CultureInfo.InvariantCulture));
            health.Set("health.lost", statistics == null ? null : statistics.DeviceLost.ToString(CultureInfo.InvariantCulture));
            health.Set("health.saved", _station.Ng.Saved.ToString(CultureInfo.InvariantCulture));
        }

        private void ShowPlc()
        {
            PlcSettings plc = _settings.Plc;
            PlcState state = _station.Plc.State;
            _layout.PlcLamp.Set(state);
            string role = Texts.Get(plc.Server ? "plc.server" : "plc.client");
            _layout.Plc.Set("plc.address", plc.Enabled ? role + " " + plc.Host + ":" + plc.Port : null);
            string trigger = plc.Triggered ? Texts.Format("plc.by_plc", _station.Plc.Triggers) : Texts.Get("plc.by_rate");
            _layout.Plc.Set("plc.trigger", plc.Enabled ? trigger : null);
        }

        private void ShowStatusLine(StationStatus status)
        {
            Color color = status.Fault ? Theme.Bad : status.State == StationState.Running ? Theme.Good
                : status.State == StationState.Loading ? Theme.Warn : Theme.Faint;
            string state = Texts.Get("status." + status.State.ToString().ToLowerInvariant());
            string left = status.SourceName.Length == 0 ? state : state + "   ·   " + status.SourceName;
            ModelInfo model = status.Model;
            string right = model == null ? "" : string.Format(CultureInfo.InvariantCulture, "{0}   ·   {1}   ·   {2} × {3}   ·   {4}",
                model.Name, model.Precision, model.InputWidth, model.InputHeight, model.BackendVersion);
            _layout.Status.Set(color, left, right);
        }

        private static string Describe(InspectedFrame frame)
        {
            return string.Format(CultureInfo.InvariantCulture, "{0}   {1} × {2}", frame.Name, frame.Pixels.Width, frame.Pixels.Height)
                + (frame.Inspected ? string.Format(CultureInfo.InvariantCulture, "   {0:0.0} ms", frame.TotalMs) : "");
        }

        private static string Memory(DetectorStatistics statistics)
        {
            if (statistics == null || statistics.MemoryUsedBytes == null)
            {
                return null;
            }
            string used = Number(statistics.MemoryUsedBytes / 1048576f, "0", "");
            string total = Number(statistics.MemoryTotalBytes / 1048576f, "0", "");
            return used + (total == null ? "" : " / " + total) + " MB";
        }

        private static string Number(float? value, string format, string unit)
        {
            return value == null ? null : value.Value.ToString(format, CultureInfo.InvariantCulture) + unit;
        }
    }
}
