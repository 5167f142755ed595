// SPDX-License-Identifier: Apache-2.0
using System;
using System.Drawing;
using System.IO;
using System.Threading.Tasks;
using System.Windows.Forms;
using YoloQ.WinForms.Inspection;
using YoloQ.WinForms.Model;

namespace YoloQ.WinForms.Views
{
    /// <summary>
    /// The main window: hands what the user does to the station. <see cref="MainScreen"/> shows what the station has.
    /// </summary>
    public sealed class MainForm : Form
    {
        private readonly SettingsStore _store;
        private readonly AppSettings _settings;
        private readonly Station _station;
        private readonly MainLayout _layout;
        private readonly MainScreen _screen;
        private readonly Timer _saveSoon = new Timer { Interval = 1000 };

        public MainForm(SettingsStore store, AppSettings settings, Station station)
        {
            _store = store;
            _settings = settings;
            _station = station;
            AutoScaleMode = AutoScaleMode.None; // Theme.Px has the screen's dots per inch and the user's wish already
            Name = "main";
            Font = Theme.Body;
            Icon = Icon.ExtractAssociatedIcon(Application.ExecutablePath);
            MinimumSize = new Size(Theme.Px(1080), Theme.Px(700));
            AllowDrop = true;
            KeyPreview = true;
            PlaceWindow();
            _layout = new MainLayout(station);
            Controls.Add(_layout);
            _screen = new MainScreen(_layout, station, settings);
            Wire();
            ShowSettings();
            _saveSoon.Tick += (sender, e) => Save();
        }

        /// <summary>A dialog is open; its message loop runs inside the window's.</summary>
        public bool IsAsking { get; private set; }

        /// <summary>Opens what was open when the program ended, or what the command line names.</summary>
        public void OpenRemembered(bool start)
        {
            if (_settings.PackagePath.Length > 0)
            {
                _station.OpenPackage(_settings.PackagePath);
            }
            if (_settings.SourcePath.Length > 0)
            {
                _station.OpenSource(_settings.SourcePath);
            }
            if (start)
            {
                _station.Start();
            }
        }

        public void OpenPackage(string path)
        {
            _settings.PackagePath = path;
            _station.OpenPackage(path);
            SaveSoon();
        }

        public void OpenSource(string path)
        {
            _settings.SourcePath = path;
            _station.OpenSource(path);
            SaveSoon();
        }

        protected override void OnDragEnter(DragEventArgs e)
        {
            base.OnDragEnter(e);
            e.Effect = e.Data.GetDataPresent(DataFormats.FileDrop) ? DragDropEffects.Copy : DragDropEffects.None;
        }

        protected override void OnDragDrop(DragEventArgs e)
        {
            base.OnDragDrop(e);
            var paths = e.Data.GetData(DataFormats.FileDrop) as string[];
            foreach (string path in paths ?? new string[0])
            {
                if (File.Exists(Path.Combine(path, "manifest.json")))
                {
                    OpenPackage(path);
                }
                else
                {
                    OpenSource(path);
                }
            }
        }

        protected override void OnKeyDown(KeyEventArgs e)
        {
            base.OnKeyDown(e);
            if (e.KeyCode == Keys.F5)
            {
                StartOrStop();
            }
            else if (e.KeyCode == Keys.F8)
            {
                _station.AcknowledgeAlarm();
            }
        }

        protected override void OnFormClosing(FormClosingEventArgs e)
        {
            base.OnFormClosing(e);
            _screen.End();
            Rectangle place = WindowState == FormWindowState.Normal ? Bounds : RestoreBounds;
            _settings.Window = new WindowSettings
            {
                Left = place.Left,
                Top = place.Top,
                Width = place.Width,
                Height = place.Height,
                Maximized = WindowState == FormWindowState.Maximized
            };
            Save().Wait();
        }

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                _saveSoon.Dispose();
            }
            base.Dispose(disposing);
        }

        private void Wire()
        {
            _layout.Package.Click += (sender, e) => ChoosePackage();
            _layout.Picture.Click += (sender, e) => ChoosePicture();
            _layout.Folder.Click += (sender, e) => ChooseFolder();
            _layout.Run.Click += (sender, e) => StartOrStop();
            _layout.Single.Click += (sender, e) => _station.Step();
            _layout.Rate.Committed += (sender, e) => Change(() => _settings.Rate = _layout.Rate.Number);
            _layout.Score.Moved += (sender, e) => Change(() => _settings.ScoreThreshold = _layout.Score.Value);
            _layout.Iou.Moved += (sender, e) => Change(() => _settings.IouThreshold = _layout.Iou.Value);
            _layout.Acknowledge.Click += (sender, e) => _station.AcknowledgeAlarm();
            _layout.Reset.Click += (sender, e) => _station.ResetCounters();
            _layout.Fit.Click += (sender, e) => _layout.View.Fit();
            _layout.OneToOne.Click += (sender, e) => _layout.View.ZoomTo(1);
            _layout.Rules.Click += (sender, e) => EditRules();
            _layout.Settings.Click += (sender, e) => EditSettings();
            _layout.Language.Click += (sender, e) => Change(() => _settings.Language = Texts.Chinese ? "en" : "zh");
            _layout.ThemeSwitch.Click += (sender, e) => Change(() => _settings.DarkTheme = !_settings.DarkTheme);
        }

        private void StartOrStop()
        {
            if (_station.Status.State == StationState.Running)
            {
                _station.Stop();
            }
            else
            {
                _station.Start();
            }
        }

        private void Change(Action change)
        {
            change();
            ShowSettings();
            _station.Apply(_settings);
            SaveSoon();
        }

        private void ShowSettings()
        {
            bool language = Texts.Chinese, dark = Theme.Dark;
            Texts.Use(_settings.Language);
            Theme.Dark = _settings.DarkTheme;
            BackColor = Theme.Window;
            Text = Texts.Get("app.title");
            _layout.Language.SetCaption(Texts.Chinese ? "EN" : "中文");
            _layout.Rate.Number = _settings.Rate;
            _layout.Score.Value = _settings.ScoreThreshold;
            _layout.Iou.Value = _settings.IouThreshold;
            if (Theme.Dark != dark)
            {
                _layout.ApplyTheme();
            }
            if (Texts.Chinese != language)
            {
                _layout.ApplyTexts();
                _screen.ShowAll();
            }
        }

        private bool Ask(Func<IWin32Window, DialogResult> showDialog)
        {
            IsAsking = true;
            try
            {
                return showDialog(this) == DialogResult.OK;
            }
            finally
            {
                IsAsking = false;
            }
        }

        private void ChoosePackage()
        {
            using (var dialog = new OpenFileDialog { Filter = Texts.Get("dialog.package_filter"), Title = Texts.Get("dialog.package_title") })
            {
                if (Ask(dialog.ShowDialog))
                {
                    OpenPackage(Path.GetDirectoryName(dialog.FileName));
                }
            }
        }

        private void ChoosePicture()
        {
            using (var dialog = new OpenFileDialog { Filter = Texts.Get("dialog.picture_filter"), Title = Texts.Get("dialog.picture_title") })
            {
                if (Ask(dialog.ShowDialog))
                {
                    OpenSource(dialog.FileName);
                }
            }
        }

        private void ChooseFolder()
        {
            using (var dialog = new FolderBrowserDialog { Description = Texts.Get("dialog.folder_title"), ShowNewFolderButton = false })
            {
                dialog.SelectedPath = Directory.Exists(_settings.SourcePath) ? _settings.SourcePath : "";
                if (Ask(dialog.ShowDialog))
                {
                    OpenSource(dialog.SelectedPath);
                }
            }
        }

        private void EditRules()
        {
            using (var dialog = new RuleDialog(_settings.Rules, _station.Status.ClassNames))
            {
                if (Ask(dialog.ShowDialog))
                {
                    Change(() =>
                    {
                        _settings.Rules.Clear();
                        _settings.Rules.AddRange(dialog.Rules);
                    });
                }
            }
        }

        private void EditSettings()
        {
            using (var dialog = new SettingsDialog(_settings))
            {
                if (Ask(dialog.ShowDialog))
                {
                    string engine = _settings.Backend + "|" + _settings.Device;
                    Change(dialog.Write);
                    if (engine != _settings.Backend + "|" + _settings.Device && _settings.PackagePath.Length > 0)
                    {
                        _station.OpenPackage(_settings.PackagePath);
                    }
                }
            }
        }

        private void PlaceWindow()
        {
            WindowSettings window = _settings.Window;
            var place = new Rectangle(window.Left, window.Top, window.Width, window.Height);
            bool visible = false;
            foreach (Screen screen in Screen.AllScreens) // the screen it was on may be gone
            {
                visible |= screen.WorkingArea.IntersectsWith(place) && window.Width > 0;
            }
            StartPosition = visible ? FormStartPosition.Manual : FormStartPosition.CenterScreen;
            if (visible)
            {
                Bounds = place;
            }
            else
            {
                Size wanted = new Size(Theme.Px(1280), Theme.Px(800)), screen = Screen.PrimaryScreen.WorkingArea.Size;
                Size = new Size(Math.Min(wanted.Width, screen.Width), Math.Min(wanted.Height, screen.Height));
            }
            WindowState = window.Maximized ? FormWindowState.Maximized : FormWindowState.Normal;
        }

        private void SaveSoon()
        {
            _saveSoon.Stop();
            _saveSoon.Start(); // a moving slider saves once, when it rests
        }

        private Task Save()
        {
            _saveSoon.Stop();
            return _store.Save(_settings, error => _station.Log.Add(Severity.Warning, "log.settings_unsaved", error.Message));
        }
    }
}
