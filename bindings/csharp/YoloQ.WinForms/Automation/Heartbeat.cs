// SPDX-License-Identifier: Apache-2.0
using System;
using System.Diagnostics;
using System.Threading;
using System.Windows.Forms;

namespace YoloQ.WinForms.Automation
{
    /// <summary>
    /// Measures how long the window takes to react: again and again a thread posts to it and takes the time until the UI
    /// thread answers.
    /// </summary>
    public sealed class Heartbeat : IDisposable
    {
        private const int PeriodMs = 20;
        private const int Buckets = 2000;

        private readonly Control _control;
        private readonly object _gate = new object();
        private readonly int[] _histogram = new int[Buckets + 1]; // by whole milliseconds; the last holds all above
        private readonly AutoResetEvent _answered = new AutoResetEvent(false);
        private readonly Thread _thread;
        private volatile bool _end;
        private long _beats;
        private double _max;

        public Heartbeat(Control control)
        {
            _control = control;
            _thread = new Thread(Run) { Name = "heartbeat", IsBackground = true };
        }

        public void Begin()
        {
            if (_thread.ThreadState.HasFlag(System.Threading.ThreadState.Unstarted))
            {
                _thread.Start();
            }
        }

        public long Beats { get { lock (_gate) { return _beats; } } }

        /// <summary>The longest time, in milliseconds.</summary>
        public double MaxMs { get { lock (_gate) { return _max; } } }

        /// <summary>The time in milliseconds that this share of the answers did not exceed.</summary>
        public double Percentile(double share)
        {
            lock (_gate)
            {
                long below = 0;
                for (int i = 0; i <= Buckets; i++)
                {
                    below += _histogram[i];
                    if (below > 0 && below >= share * _beats)
                    {
                        return i == Buckets ? _max : i + 1;
                    }
                }
                return 0;
            }
        }

        public void Reset()
        {
            lock (_gate)
            {
                Array.Clear(_histogram, 0, _histogram.Length);
                _beats = 0;
                _max = 0;
            }
        }

        public void Dispose()
        {
            _end = true;
            _answered.Set();
        }

        private void Run()
        {
            var watch = new Stopwatch();
            MethodInvoker answer = () => _answered.Set();
            while (!_end)
            {
                watch.Restart();
                try
                {
                    _control.BeginInvoke(answer);
                }
                catch (InvalidOperationException)
                {
                    return; // the window has gone
                }
                _answered.WaitOne();
                Count(watch.Elapsed.TotalMilliseconds);
                Thread.Sleep(PeriodMs);
            }
        }

        private void Count(double ms)
        {
            lock (_gate)
            {
                _histogram[Math.Min(Buckets, (int)ms)]++;
                _beats++;
                _max = Math.Max(_max, ms);
            }
        }
    }
}
