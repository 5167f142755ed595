// SPDX-License-Identifier: Apache-2.0
using System;
using System.Diagnostics;
using System.Linq;
using System.Threading;
using YoloQ.Modbus;
using YoloQ.WinForms.Model;

namespace YoloQ.WinForms.Inspection
{
    /// <summary>
    /// The inspection station without a screen: commands go in, frames, counters, events and a status come out. Every
    /// member may be used from any thread and returns at once; work is done on the inspection thread.
    /// </summary>
    public sealed class Station : IDisposable
    {
        private const int ReadTimeoutMs = 200;
        private const int PauseAfterErrorMs = 200;
        private const int ScreenPeriodMs = 25;

        private readonly InspectionLoop _loop;
        private readonly Inspector _inspector;
        private readonly Stopwatch _clock = Stopwatch.StartNew();
        private StationOptions _wanted;
        private StationOptions _options;
        private volatile StationStatus _status = new StationStatus();
        private long _shownAt = -ScreenPeriodMs;
        private long _secondAt;
        private int _picturesThisSecond;
        private int _badInARow;
        private bool _unshown;
        private long _trigger = InspectionResult.NoTrigger; // of the picture at hand

        public readonly Journal Log = new Journal();
        public readonly Alarm Alarm = new Alarm();
        public readonly Counters Counters = new Counters();
        /// <summary>Milliseconds per picture.</summary>
        public readonly Series Latency = new Series(240);
        /// <summary>Pictures per second, one value a second while running.</summary>
        public readonly Series Throughput = new Series(120);
        public readonly FrameExchange Frames = new FrameExchange();
        public readonly NgStore Ng;
        public readonly PlcService Plc;

        public Station(AppSettings settings)
        {
            _wanted = _options = new StationOptions(settings);
            _inspector = new Inspector(_options);
            _loop = new InspectionLoop(TakePicture, EverySecond, Failed);
            Ng = new NgStore(Log);
            Plc = new PlcService(Log, OnTrigger, () => Alarm.Acknowledge());
            Apply(settings);
            _loop.Begin();
        }

        public StationStatus Status
        {
            get { return _status; }
        }

        /// <summary>Takes over changed settings; a picture that stands still is judged again at once.</summary>
        public void Apply(AppSettings settings)
        {
            var options = new StationOptions(settings);
            Interlocked.Exchange(ref _wanted, options);
            Alarm.Latched = settings.LatchAlarm;
            Ng.Configure(settings.SaveNg, settings.NgFolder, settings.NgFormat, settings.NgLimitMegabytes * 1048576L);
            Plc.Configure(settings.Plc);
            _loop.SetPace(options.Rate, options.Triggered);
            _loop.Post(TakeOptions);
        }

        /// <summary>Loads a package in place of the one before; the result is in the log and in <see cref="Status"/>.</summary>
        public void OpenPackage(string path)
        {
            _loop.Post(() => LoadPackage(path));
        }

        /// <summary>Opens a picture file or a folder and shows its first picture.</summary>
        public void OpenSource(string path)
        {
            OpenSource(() => new FileSource(path, () => Volatile.Read(ref _wanted).Loop));
        }

        /// <summary>Opens any source, such as a camera. The factory is called on the inspection thread.</summary>
        public void OpenSource(Func<IFrameSource> open)
        {
            _loop.Post(() => UseSource(open));
        }

        public void Start()
        {
            _loop.Post(DoStart);
        }

        public void Stop()
        {
            _loop.SetRunning(false); // at once, whatever waits in the queue
            _loop.Post(DoStop);
        }

        /// <summary>Inspects one picture and counts it.</summary>
        public void Step()
        {
            _loop.Post(TakePicture);
        }

        public void AcknowledgeAlarm()
        {
            if (Alarm.Acknowledge())
            {
                Log.Add(Severity.Info, "log.acknowledged");
            }
        }

        public void ResetCounters()
        {
            Counters.Reset();
            Log.Add(Severity.Info, "log.reset");
        }

        /// <summary>Ends the threads; waits for the picture at hand and for NG pictures not yet written.</summary>
        public void Dispose()
        {
            _loop.End();
            Plc.Dispose();
            Ng.Dispose();
            _inspector.Dispose();
            Frames.Dispose();
        }

        private void TakeOptions()
        {
            StationOptions options = Volatile.Read(ref _wanted);
            if (ReferenceEquals(options, _options))
            {
                return; // a later change came along with an earlier one
            }
            bool judgesAlike = options.JudgesLike(_options);
            bool sameRules = options.SameRules(_options);
            _options = options;
            _inspector.Apply(options);
            if (!sameRules)
            {
                WarnOfUnknownRules();
            }
            if (!judgesAlike && !_loop.Running)
            {
                LookAgain();
            }
        }

        private void LoadPackage(string path)
        {
            bool wasRunning = _loop.Running;
            DoStop();
            Publish(status => { status.State = StationState.Loading; status.Fault = false; });
            try
            {
                _inspector.Load(path);
                Counters.Reset(_inspector.Model.ClassNames.Count);
                ModelInfo model = _inspector.Model;
                Log.Add(Severity.Good, "log.package", model.Name, model.Backend, model.Precision);
                WarnOfUnknownRules();
            }
            catch (Exception error) // a wrong package is an operator's mistake, not the end of the program
            {
                _inspector.Unload();
                Counters.Reset(0);
                Log.Add(Severity.Error, "log.package_failed", OneLine(error));
            }
            Publish(status =>
            {
                status.Model = _inspector.Model;
                status.ClassNames = _inspector.ClassNames;
                status.Statistics = _inspector.ReadStatistics();
            });
            LookAgain();
            if (wasRunning && _inspector.CanInspect)
            {
                DoStart();
            }
        }

        private void UseSource(Func<IFrameSource> open)
        {
            DoStop();
            try
            {
                _inspector.Use(null); // first: the new one may be the same camera
                Publish(status => status.SourceName = "");
                _inspector.Use(open());
                Log.Add(Severity.Good, "log.source", _inspector.SourceName);
                Publish(status => status.SourceName = _inspector.SourceName);
                if (_inspector.Preview(ReadTimeoutMs) == ReadResult.Picture)
                {
                    LookAgain();
                }
            }
            catch (Exception error)
            {
                Log.Add(Severity.Error, "log.source_failed", OneLine(error));
            }
        }

        private void DoStart()
        {
            if (_loop.Running)
            {
                return;
            }
            if (!_inspector.CanInspect)
            {
                Log.Add(Severity.Warning, _inspector.HasSource ? "log.no_package" : "log.no_source");
                return;
            }
            _badInARow = 0;
            _loop.SetRunning(true);
            Log.Add(Severity.Info, _options.Triggered ? "log.started_triggered" : "log.started", _options.Rate);
            Publish(status => status.Fault = false);
        }

        private void DoStop()
        {
            _loop.SetRunning(false);
            if (_status.State == StationState.Running)
            {
                Log.Add(Severity.Info, "log.stopped");
                if (_unshown)
                {
                    Show();
                }
            }
            Publish(status => status.Throughput = 0);
        }

        private void TakePicture()
        {
            if (!_inspector.CanInspect)
            {
                Log.Add(Severity.Warning, _inspector.HasSource ? "log.no_package" : "log.no_source");
                return;
            }
            _trigger = Plc.TakeTrigger();
            try
            {
                ReadResult result = Read();
                if (result == ReadResult.End)
                {
                    Log.Add(Severity.Info, "log.end");
                    DoStop();
                    if (IsAsked)
                    {
                        Plc.PublishError(LinkError.NoPicture, _trigger);
                    }
                }
                if (result != ReadResult.Picture)
                {
                    return;
                }
            }
            catch (FrameSourceException error)
            {
                SourceFailed(error);
                return;
            }
            Inspect(true);
        }

        private bool IsAsked
        {
            get { return _trigger != InspectionResult.NoTrigger; }
        }

        /// <summary>A camera that the PLC triggers may take its time; one that runs freely is asked again at the next turn.</summary>
        private ReadResult Read()
        {
            long end = _clock.ElapsedMilliseconds + _options.TimeoutMs;
            ReadResult result = _inspector.Read(ReadTimeoutMs);
            while (result == ReadResult.Nothing && (IsAsked || _options.Triggered) && _loop.Running)
            {
                if (_clock.ElapsedMilliseconds >= end)
                {
                    throw new FrameSourceException(Texts.Format("log.no_picture", _options.TimeoutMs));
                }
                result = _inspector.Read(ReadTimeoutMs);
            }
            return result;
        }

        private void SourceFailed(FrameSourceException error)
        {
            Log.Add(Severity.Warning, "log.picture_failed", OneLine(error));
            Counters.AddError();
            Plc.PublishError(LinkError.NoPicture, _trigger);
            if (++_badInARow >= 100)
            {
                Log.Add(Severity.Error, "log.too_many_bad");
                Alarm.Failed();
                DoStop();
            }
        }

        /// <summary>Judges the picture at hand again, without counting it.</summary>
        private void LookAgain()
        {
            _trigger = InspectionResult.NoTrigger;
            if (_inspector.Frame.Pixels.IsEmpty)
            {
                return;
            }
            if (_inspector.Model == null)
            {
                Show();
                return;
            }
            Inspect(false);
        }

        private void Inspect(bool counted)
        {
            InspectedFrame frame = _inspector.Frame;
            try
            {
                _inspector.Inspect(counted);
            }
            catch (YoloException error)
            {
                frame.Error = OneLine(error);
                Failed(error);
                Plc.PublishError(LinkError.Detector, _trigger);
                Show();
                Thread.Sleep(PauseAfterErrorMs); // a lost device must not turn into a busy loop
                return;
            }
            _badInARow = 0;
            if (_status.Fault)
            {
                Log.Add(Severity.Good, "log.recovered");
                Publish(status => status.Fault = false);
            }
            Counters.Add(frame.Found, frame.Count, frame.Verdict, counted);
            if (counted)
            {
                Count(frame);
            }
            ShowSometimes();
        }

        private void Count(InspectedFrame frame)
        {
            _picturesThisSecond++;
            Latency.Add(frame.TotalMs);
            Alarm.Judged(frame.Verdict.Ok);
            Plc.Publish(frame, _inspector.ClassNames.Count, _trigger);
            if (frame.Verdict.Ok)
            {
                return;
            }
            Log.Add(Severity.Warning, "log.ng", frame.Name, BrokenRules(frame));
            Ng.Offer(frame, _inspector.Context);
            if (_options.StopOnNg && _loop.Running)
            {
                DoStop();
            }
        }

        private string BrokenRules(InspectedFrame frame)
        {
            return string.Join(", ", frame.Verdict.Broken.Select(rule => _inspector.Context.Rules[rule].ToString()));
        }

        /// <summary>The screen gets a frame often enough for the eye; the others are inspected all the same.</summary>
        private void ShowSometimes()
        {
            _unshown = _loop.Running && _clock.ElapsedMilliseconds - _shownAt < ScreenPeriodMs;
            if (!_unshown)
            {
                Show();
            }
        }

        private void Show()
        {
            InspectedFrame back = Frames.Back;
            back.CopyFrom(_inspector.Frame);
            back.MakePreview();
            Frames.Publish();
            _shownAt = _clock.ElapsedMilliseconds;
            _unshown = false;
        }

        private void EverySecond()
        {
            long now = _clock.ElapsedMilliseconds;
            float rate = _picturesThisSecond * 1000f / Math.Max(1, now - _secondAt);
            _secondAt = now;
            _picturesThisSecond = 0;
            if (_loop.Running)
            {
                Throughput.Add(rate);
            }
            DetectorStatistics statistics = _inspector.ReadStatistics();
            Publish(status => { status.Statistics = statistics; status.Throughput = _loop.Running ? rate : 0; });
        }

        private void OnTrigger()
        {
            if (!_loop.Trigger())
            {
                Log.Add(Severity.Warning, "log.trigger_lost");
            }
        }

        private void Failed(Exception error)
        {
            Log.Add(Severity.Error, "log.inspection_failed", OneLine(error));
            Counters.AddError();
            Alarm.Failed();
            Publish(status => status.Fault = true);
        }

        private void WarnOfUnknownRules()
        {
            foreach (Rule rule in _inspector.UnknownRules)
            {
                Log.Add(Severity.Warning, "log.unknown_class", rule.ClassName);
            }
        }

        private void Publish(Action<StationStatus> change)
        {
            StationStatus status = _status.Copy();
            status.State = _inspector.Model == null ? StationState.Empty
                : _loop.Running ? StationState.Running : StationState.Ready;
            change(status);
            _status = status;
            Plc.SetState(_loop.Running, _options.Triggered, status.Fault);
        }

        private static string OneLine(Exception error)
        {
            return error.Message.Replace('\r', ' ').Replace('\n', ' ');
        }
    }
}
