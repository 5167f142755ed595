// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.Drawing.Imaging;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Threading;
using YoloQ.WinForms.Model;

namespace YoloQ.WinForms.Inspection
{
    /// <summary>
    /// Saves NG pictures on a thread of its own: picture and JSON side by side, written as *.part and renamed, the JSON
    /// first, so that a picture is never without one. When the disk is slower than the line, pictures are dropped and
    /// counted; above the limit the oldest go. <see cref="Offer"/> never waits.
    /// </summary>
    public sealed class NgStore : IDisposable
    {
        private const int Waiting = 4;

        private readonly object _gate = new object();
        private readonly Queue<Job> _jobs = new Queue<Job>();
        private readonly Stack<Job> _spare = new Stack<Job>();
        private readonly Journal _log;
        private readonly Thread _thread;
        private readonly NgFolder _folder = new NgFolder();
        private StoreSettings _settings = new StoreSettings();
        private bool _end;
        private long _saved, _dropped;

        public NgStore(Journal log)
        {
            _log = log;
            for (int i = 0; i < Waiting; i++)
            {
                _spare.Push(new Job());
            }
            _thread = new Thread(Run) { Name = "NG pictures", IsBackground = true, Priority = ThreadPriority.BelowNormal };
            _thread.Start();
        }

        public long Saved { get { return Interlocked.Read(ref _saved); } }

        /// <summary>NG pictures that were not saved because the disk did not keep up or failed.</summary>
        public long Dropped { get { return Interlocked.Read(ref _dropped); } }

        public void Configure(bool enabled, string folder, string format, long limitBytes)
        {
            lock (_gate)
            {
                _settings = new StoreSettings { Enabled = enabled, Folder = folder, Format = format, LimitBytes = limitBytes };
            }
        }

        /// <summary>Copies the frame and returns; false if it was not taken.</summary>
        public bool Offer(InspectedFrame frame, InspectionContext context)
        {
            Job job;
            lock (_gate)
            {
                if (!_settings.Enabled || _end)
                {
                    return false;
                }
                if (_spare.Count == 0)
                {
                    Interlocked.Increment(ref _dropped);
                    _log.Add(Severity.Warning, "log.ng_dropped");
                    return false;
                }
                job = _spare.Pop();
                job.Settings = _settings;
            }
            try
            {
                job.Frame.CopyFrom(frame);
            }
            catch (OutOfMemoryException error)
            {
                lock (_gate)
                {
                    _spare.Push(job);
                }
                Failed(error);
                return false;
            }
            job.Context = context;
            lock (_gate)
            {
                _jobs.Enqueue(job);
                Monitor.PulseAll(_gate);
            }
            return true;
        }

        /// <summary>Writes what waits, then ends.</summary>
        public void Dispose()
        {
            lock (_gate)
            {
                _end = true;
                Monitor.PulseAll(_gate);
            }
            _thread.Join();
            foreach (Job job in _spare)
            {
                job.Frame.Dispose();
            }
        }

        private void Run()
        {
            for (;;)
            {
                Job job;
                lock (_gate)
                {
                    while (_jobs.Count == 0)
                    {
                        if (_end)
                        {
                            return;
                        }
                        Monitor.Wait(_gate);
                    }
                    job = _jobs.Dequeue();
                }
                Save(job);
                lock (_gate)
                {
                    _spare.Push(job);
                }
            }
        }

        private void Save(Job job)
        {
            try
            {
                string name = Write(job);
                Interlocked.Increment(ref _saved);
                _log.Add(Severity.Info, "log.ng_saved", name);
            }
            catch (Exception error) // disk full, folder gone, GDI+ refusing: the line goes on without the picture
            {
                Failed(error);
            }
        }

        private void Failed(Exception error)
        {
            Interlocked.Increment(ref _dropped);
            _log.Add(Severity.Error, "log.ng_failed", error.Message);
        }

        private string Write(Job job)
        {
            StoreSettings settings = job.Settings;
            InspectedFrame frame = job.Frame;
            _folder.Open(settings.Folder);
            string stem = NgFolder.Stem(frame.Time, frame.Sequence);
            string picture = stem + "." + settings.Format;
            string part = Path.Combine(settings.Folder, picture + ".part");
            var record = NgRecord.Of(frame, job.Context);
            record.Picture = picture;
            byte[] json = JsonFile.ToBytes(record);
            try
            {
                frame.Pixels.View.Save(part, settings.Format == "jpg" ? ImageFormat.Jpeg : ImageFormat.Png);
                long bytes = new FileInfo(part).Length + json.Length;
                _folder.MakeRoom(settings.LimitBytes, bytes);
                JsonFile.Write(Path.Combine(settings.Folder, stem + ".json"), json);
                JsonFile.Rename(part, Path.Combine(settings.Folder, picture));
                _folder.Added(stem, bytes);
            }
            catch
            {
                Discard(part);
                throw;
            }
            return picture;
        }

        /// <summary>Or a full disk would fill up with cut-off pictures that no limit counts.</summary>
        private static void Discard(string part)
        {
            try
            {
                File.Delete(part);
            }
            catch (Exception error) when (error is IOException || error is UnauthorizedAccessException)
            {
                // the next start removes it; the log says why the picture was not written
            }
        }

        private sealed class StoreSettings
        {
            public bool Enabled;
            public string Folder;
            public string Format;
            public long LimitBytes;
        }

        private sealed class Job
        {
            public readonly InspectedFrame Frame = new InspectedFrame();
            public InspectionContext Context;
            public StoreSettings Settings;
        }
    }

    /// <summary>Knows which files in a folder are ours, and removes the oldest when they become too many.</summary>
    internal sealed class NgFolder
    {
        private const string Pattern = "ng_????????_??????_???_??????*"; // as Stem makes them
        private string _folder;
        private readonly Queue<KeyValuePair<string, long>> _files = new Queue<KeyValuePair<string, long>>();
        private long _total;

        public static string Stem(DateTime time, long sequence)
        {
            return "ng_" + time.ToString("yyyyMMdd_HHmmss_fff", CultureInfo.InvariantCulture)
                + "_" + sequence.ToString("000000", CultureInfo.InvariantCulture);
        }

        /// <summary>Makes the folder, and when it is a new one takes stock of it.</summary>
        public void Open(string folder)
        {
            Directory.CreateDirectory(folder);
            if (_folder != folder)
            {
                Scan(folder);
                _folder = folder;
            }
        }

        /// <summary>Removes oldest files until so many more bytes fit under the limit. Names sort by time.</summary>
        public void MakeRoom(long limit, long more)
        {
            while (_files.Count > 0 && _total + more > limit)
            {
                KeyValuePair<string, long> oldest = _files.Dequeue();
                _total -= oldest.Value;
                foreach (string file in Directory.EnumerateFiles(_folder, oldest.Key + ".*"))
                {
                    File.Delete(file);
                }
            }
        }

        public void Added(string stem, long bytes)
        {
            _files.Enqueue(new KeyValuePair<string, long>(stem, bytes));
            _total += bytes;
        }

        private void Scan(string folder)
        {
            _files.Clear();
            _total = 0;
            foreach (string leftover in Directory.EnumerateFiles(folder, Pattern + ".part"))
            {
                File.Delete(leftover); // of a start that was cut off
            }
            var stems = new DirectoryInfo(folder).EnumerateFiles(Pattern)
                .GroupBy(file => Path.GetFileNameWithoutExtension(file.Name))
                .OrderBy(group => group.Key, StringComparer.Ordinal);
            foreach (var group in stems)
            {
                Added(group.Key, group.Sum(file => file.Length));
            }
        }
    }
}
