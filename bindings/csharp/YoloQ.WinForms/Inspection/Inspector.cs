// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using YoloQ.WinForms.Model;

namespace YoloQ.WinForms.Inspection
{
    /// <summary>Detector, source and rules: takes a picture and judges it. Used by the inspection thread alone.</summary>
    internal sealed class Inspector : IDisposable
    {
        private readonly Stopwatch _watch = new Stopwatch();
        private Detector _detector;
        private IFrameSource _source;
        private RuleBook _rules = new RuleBook(new Rule[0], StationStatus.NoNames);
        private StationOptions _options;
        private long _sequence;

        /// <summary>The picture at hand and what was found in it.</summary>
        public readonly InspectedFrame Frame = new InspectedFrame();

        public Inspector(StationOptions options)
        {
            Apply(options);
        }

        public ModelInfo Model { get; private set; }
        public InspectionContext Context { get; private set; }

        public bool CanInspect
        {
            get { return _detector != null && _source != null; }
        }

        public bool HasSource
        {
            get { return _source != null; }
        }

        public string SourceName
        {
            get { return _source == null ? "" : _source.Name; }
        }

        public IReadOnlyList<string> ClassNames
        {
            get { return Model == null ? StationStatus.NoNames : Model.ClassNames; }
        }

        public IEnumerable<Rule> UnknownRules
        {
            get { return Model == null ? Enumerable.Empty<Rule>() : _rules.Unknown; }
        }

        public void Apply(StationOptions options)
        {
            _options = options;
            Bind();
        }

        /// <summary>Loads a package in place of the one before. On failure nothing is loaded.</summary>
        public void Load(string path)
        {
            Unload();
            var options = new DetectorOptions
            {
                Backend = _options.Backend,
                Device = _options.Device,
                Timeout = TimeSpan.FromMilliseconds(_options.TimeoutMs)
            };
            _detector = new Detector(path, options);
            Model = _detector.Info;
            Frame.Found = new Detection[Model.MaxDetections];
            Bind();
        }

        public void Unload()
        {
            if (_detector != null)
            {
                _detector.Dispose();
            }
            _detector = null;
            Model = null;
            Frame.Inspected = false;
            Frame.Count = 0;
            Frame.Error = null;
            Bind();
        }

        /// <summary>Takes over a source, or none (null); the one before is disposed.</summary>
        public void Use(IFrameSource source)
        {
            IFrameSource before = _source;
            _source = source;
            if (before != null)
            {
                before.Dispose();
            }
        }

        /// <summary>Reads the next picture into <see cref="Frame"/>; not yet inspected.</summary>
        public ReadResult Read(int timeoutMs)
        {
            string name;
            ReadResult result = _source.Read(Frame.Pixels, timeoutMs, out name);
            if (result == ReadResult.Picture)
            {
                Frame.Name = name;
                Frame.Time = DateTime.Now;
                Frame.Inspected = false;
                Frame.Error = null;
                Frame.Count = 0;
            }
            return result;
        }

        /// <summary>Reads a picture to look at; a file's will come again when the line starts.</summary>
        public ReadResult Preview(int timeoutMs)
        {
            ReadResult result = Read(timeoutMs);
            var files = _source as FileSource;
            if (files != null)
            {
                files.Rewind();
            }
            return result;
        }

        /// <summary>Detects and judges <see cref="Frame"/>. Throws what the detector throws.</summary>
        /// <param name="counted">a new picture, not another look at the same one</param>
        public void Inspect(bool counted)
        {
            Frame.Inspected = false;
            Frame.Count = 0;
            Frame.Sequence = counted ? ++_sequence : _sequence;
            var settings = new DetectSettings
            {
                ScoreThreshold = _options.ScoreThreshold,
                IouThreshold = _options.IouThreshold,
                TimeoutMilliseconds = _options.TimeoutMs
            };
            _watch.Restart();
            Frame.Count = _detector.Detect(Frame.Pixels.ToImage(), Frame.Found, out Frame.Timings, settings);
            Frame.TotalMs = (float)_watch.Elapsed.TotalMilliseconds;
            _rules.Judge(Frame.Found, Frame.Count, Frame.Verdict);
            Frame.Error = null;
            Frame.Inspected = true;
        }

        public DetectorStatistics ReadStatistics()
        {
            return _detector == null ? null : _detector.GetStatistics();
        }

        public void Dispose()
        {
            Use(null);
            Unload();
            Frame.Dispose();
        }

        private void Bind()
        {
            _rules = new RuleBook(_options.Rules, ClassNames);
            string name = Model == null ? "" : Model.Name;
            Context = new InspectionContext(name, ClassNames, _rules, _options.ScoreThreshold, _options.IouThreshold);
        }
    }
}
