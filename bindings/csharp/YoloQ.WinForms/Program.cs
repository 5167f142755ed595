// SPDX-License-Identifier: Apache-2.0
using System;
using System.Drawing;
using System.Threading;
using System.Windows.Forms;
using YoloQ.WinForms.Automation;
using YoloQ.WinForms.Inspection;
using YoloQ.WinForms.Model;
using YoloQ.WinForms.Views;

namespace YoloQ.WinForms
{
    internal static class Program
    {
        private const string Usage = "usage: YoloQ.WinForms [--settings FILE] [--package FOLDER] [--source PICTURE|FOLDER]"
            + " [--start] [--language en|zh] [--size WIDTHxHEIGHT] [--automation]";

        [STAThread]
        private static int Main(string[] arguments)
        {
            CommandLine line;
            try
            {
                line = CommandLine.Parse(arguments);
            }
            catch (ArgumentException error)
            {
                Console.Error.WriteLine("YoloQ.WinForms: " + error.Message + "\n" + Usage);
                return 2;
            }
            Application.EnableVisualStyles();
            Application.SetCompatibleTextRenderingDefault(false);
            Application.SetUnhandledExceptionMode(UnhandledExceptionMode.CatchException);
            var store = new SettingsStore(line.SettingsPath);
            AppSettings settings = store.Load();
            line.ApplyTo(settings);
            Texts.Use(settings.Language);
            Theme.Dark = settings.DarkTheme;
            using (Graphics screen = Graphics.FromHwnd(IntPtr.Zero))
            {
                Theme.SetScale(screen.DpiX, settings.ScalePercent);
            }
            using (var station = new Station(settings))
            {
                Run(line, store, settings, station);
            }
            return 0;
        }

        private static void Run(CommandLine line, SettingsStore store, AppSettings settings, Station station)
        {
            // an error in a handler is logged; the inspection goes on, and the operator sees what happened
            Application.ThreadException += (sender, e) => station.Log.Add(Severity.Error, "log.unexpected", e.Exception.ToString());
            station.Log.Add(Severity.Info, "log.welcome", typeof(Program).Assembly.GetName().Version.ToString(3));
            ListenToLibrary(station);
            if (store.Problem != null)
            {
                station.Log.Add(Severity.Warning, "log.settings_damaged", store.Problem);
            }
            using (var form = new MainForm(store, settings, station))
            using (var heartbeat = new Heartbeat(form))
            {
                line.Place(form);
                if (line.Automation)
                {
                    form.HandleCreated += (sender, e) => heartbeat.Begin();
                    form.Shown += (sender, e) => new AutomationServer(form, station, heartbeat, Console.In, Console.Out).Begin();
                }
                form.Shown += (sender, e) => form.OpenRemembered(line.Start);
                Application.Run(form);
            }
        }

        private static void ListenToLibrary(Station station)
        {
            try
            {
                Library.Log += (sender, e) => station.Log.Add(SeverityOf(e.Level), "log.raw", e.Message);
            }
            catch (YoloException error) // no native library: say so in the window, where it is read
            {
                station.Log.Add(Severity.Error, "log.raw", error.Message);
            }
        }

        private static Severity SeverityOf(LogLevel level)
        {
            return level >= LogLevel.Error ? Severity.Error : level == LogLevel.Warning ? Severity.Warning : Severity.Info;
        }
    }

    /// <summary>What was asked for when the program was started.</summary>
    internal sealed class CommandLine
    {
        public string SettingsPath { get; private set; }
        public bool Start { get; private set; }
        public bool Automation { get; private set; }
        private string _package, _source, _language;
        private Size _size;

        public static CommandLine Parse(string[] arguments)
        {
            var line = new CommandLine();
            for (int i = 0; i < arguments.Length; i++)
            {
                switch (arguments[i])
                {
                    case "--start":
                        line.Start = true;
                        break;
                    case "--automation":
                        line.Automation = true;
                        break;
                    default:
                        line.Take(arguments[i], i + 1 < arguments.Length ? arguments[++i] : null);
                        break;
                }
            }
            return line;
        }

        public void ApplyTo(AppSettings settings)
        {
            settings.PackagePath = _package ?? settings.PackagePath;
            settings.SourcePath = _source ?? settings.SourcePath;
            settings.Language = _language ?? settings.Language;
        }

        /// <summary>The top left corner of the screen, for kiosks and screenshots; the size is without the window's frame.</summary>
        public void Place(Form form)
        {
            if (!_size.IsEmpty)
            {
                form.StartPosition = FormStartPosition.Manual;
                form.WindowState = FormWindowState.Normal;
                form.Location = Point.Empty;
                form.ClientSize = _size;
            }
        }

        private void Take(string option, string value)
        {
            if (value == null || !option.StartsWith("--", StringComparison.Ordinal))
            {
                throw new ArgumentException("do not know what to do with " + option);
            }
            switch (option)
            {
                case "--settings":
                    SettingsPath = value;
                    break;
                case "--package":
                    _package = value;
                    break;
                case "--source":
                    _source = value;
                    break;
                case "--language":
                    _language = value;
                    break;
                case "--size":
                    string[] sides = value.Split('x');
                    int width, height;
                    if (sides.Length != 2 || !int.TryParse(sides[0], out width) || !int.TryParse(sides[1], out height))
                    {
                        throw new ArgumentException("--size takes WIDTHxHEIGHT, such as 1280x800");
                    }
                    _size = new Size(width, height);
                    break;
                default:
                    throw new ArgumentException("there is no option " + option);
            }
        }
    }
}
