// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Threading;

namespace YoloQ.WinForms.Inspection
{
    /// <summary>
    /// The thread that owns detector and source: it does what it is told, one thing after another, and in between takes
    /// pictures at a rate or on a trigger. All methods may be called from any thread and return at once.
    /// </summary>
    public sealed class InspectionLoop
    {
        private readonly object _gate = new object();
        private readonly Queue<Action> _commands = new Queue<Action>();
        private readonly Stopwatch _clock = Stopwatch.StartNew();
        private readonly Action _picture;
        private readonly Action _second;
        private readonly Action<Exception> _failed;
        private readonly Thread _thread;
        private bool _running, _triggered, _trigger, _end;
        private double _periodMs = 100;
        private double _due, _nextSecond;

        /// <param name="picture">takes and inspects one picture; on the loop's thread, like the others</param>
        /// <param name="second">called about once a second</param>
        /// <param name="failed">told of an exception that any of them let out; the loop goes on</param>
        public InspectionLoop(Action picture, Action second, Action<Exception> failed)
        {
            _picture = picture;
            _second = second;
            _failed = failed;
            _thread = new Thread(Run) { Name = "inspection", IsBackground = true };
        }

        public bool Running { get { lock (_gate) { return _running; } } }

        public void Begin()
        {
            _thread.Start();
        }

        /// <summary>Does something on the loop's thread, after what was posted before.</summary>
        public void Post(Action command)
        {
            lock (_gate)
            {
                _commands.Enqueue(command);
                Monitor.PulseAll(_gate);
            }
        }

        /// <summary>Takes pictures from now on, or stops to.</summary>
        public void SetRunning(bool running)
        {
            lock (_gate)
            {
                _running = running;
                _trigger = false;
                _due = _clock.Elapsed.TotalMilliseconds;
                Monitor.PulseAll(_gate);
            }
        }

        /// <param name="rate">pictures per second, when not triggered</param>
        public void SetPace(double rate, bool triggered)
        {
            lock (_gate)
            {
                _periodMs = 1000 / rate;
                _triggered = triggered;
                _due = Math.Min(_due, _clock.Elapsed.TotalMilliseconds + _periodMs);
                Monitor.PulseAll(_gate);
            }
        }

        /// <summary>Asks for one picture, now. false: not running, or the last trigger still waits.</summary>
        public bool Trigger()
        {
            lock (_gate)
            {
                if (!_running || _trigger)
                {
                    return false;
                }
                _trigger = true;
                Monitor.PulseAll(_gate);
                return true;
            }
        }

        /// <summary>Ends the thread after the work at hand and waits for it; commands still waiting are not done.</summary>
        public void End()
        {
            lock (_gate)
            {
                _end = true;
                Monitor.PulseAll(_gate);
            }
            _thread.Join();
        }

        private void Run()
        {
            for (;;)
            {
                Action work = Next();
                if (work == null)
                {
                    return;
                }
                try
                {
                    work();
                }
                catch (Exception error) // the loop is the line: it reports and goes on
                {
                    _failed(error);
                }
            }
        }

        private Action Next()
        {
            lock (_gate)
            {
                while (!_end)
                {
                    double now = _clock.Elapsed.TotalMilliseconds;
                    if (_commands.Count > 0)
                    {
                        return _commands.Dequeue();
                    }
                    if (now >= _nextSecond)
                    {
                        _nextSecond = now + 1000;
                        return _second;
                    }
                    if (_running && IsDue(now))
                    {
                        return _picture;
                    }
                    double wake = _running && !_triggered ? Math.Min(_due, _nextSecond) : _nextSecond;
                    Monitor.Wait(_gate, (int)Math.Max(1, Math.Ceiling(wake - now)));
                }
                return null;
            }
        }

        private bool IsDue(double now)
        {
            if (_trigger)
            {
                _trigger = false;
                return true;
            }
            if (_triggered || now < _due)
            {
                return false;
            }
            _due = Math.Max(_due + _periodMs, now); // what was missed is not caught up with
            return true;
        }
    }
}
