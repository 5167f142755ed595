// SPDX-License-Identifier: Apache-2.0
using System;
using System.IO;
using System.Threading.Tasks;

namespace YoloQ.WinForms.Model
{
    /// <summary>Keeps <see cref="AppSettings"/> in a JSON file. A damaged file never stops the start.</summary>
    public sealed class SettingsStore
    {
        private readonly string _path;
        private Task _writing = Task.FromResult(true);

        /// <param name="path">null: settings.json in the user's application-data folder.</param>
        public SettingsStore(string path = null)
        {
            _path = path ?? DefaultPath();
        }

        /// <summary>Why the last <see cref="Load"/> fell back to defaults; null if it did not.</summary>
        public string Problem { get; private set; }

        private static string DefaultPath()
        {
            string folder = Environment.GetFolderPath(Environment.SpecialFolder.ApplicationData);
            return Path.Combine(folder, "YoloQ", "WinForms", "settings.json");
        }

        /// <summary>The settings; the defaults if there is no file, or if it cannot be read: then it is kept as *.damaged.</summary>
        public AppSettings Load()
        {
            Problem = null;
            AppSettings settings = null;
            try
            {
                if (File.Exists(_path))
                {
                    settings = JsonFile.Read<AppSettings>(_path);
                }
            }
            catch (Exception error) // whatever is wrong with a settings file, the line must start
            {
                Problem = error.Message;
            }
            if (Problem != null)
            {
                SetAside();
            }
            settings = settings ?? new AppSettings();
            settings.Normalize();
            return settings;
        }

        /// <summary>Writes the settings as they are now, beside the old ones, and renames; on another thread, for a disk that
        /// is busy with pictures takes its time. One writes after the other.</summary>
        /// <param name="failed">told why they could not be written; on that thread</param>
        /// <returns>ends when they are written, or could not be</returns>
        public Task Save(AppSettings settings, Action<Exception> failed)
        {
            byte[] json = JsonFile.ToBytes(settings);
            _writing = _writing.ContinueWith(before => Write(json, failed), TaskScheduler.Default);
            return _writing;
        }

        private void Write(byte[] json, Action<Exception> failed)
        {
            try
            {
                Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(_path)));
                JsonFile.Write(_path, json);
            }
            catch (Exception error) // a full disk, a folder that is gone: the program goes on with what it has
            {
                failed(error);
            }
        }

        private void SetAside()
        {
            try
            {
                JsonFile.Rename(_path, _path + ".damaged");
            }
            catch (Exception error) when (error is IOException || error is UnauthorizedAccessException)
            {
                Problem += " " + error.Message;
            }
        }
    }
}
