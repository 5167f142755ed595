// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;

namespace YoloQ
{
    /// <summary>Runs detections in order on a few threads of its own, so that calls that block in native code never occupy
    /// the thread pool. Threads start when there is work and end when there has been none for a while.</summary>
    internal sealed class DetectionQueue
    {
        private readonly object _lock = new object();
        private readonly Queue<Job> _jobs = new Queue<Job>();
        private readonly int _most, _idleMs;
        private int _threads, _idle;
        private bool _closed;

        internal DetectionQueue(int threads, int idleMs = 10000)
        {
            _most = threads;
            _idleMs = idleMs;
        }

        /// <summary>How many threads live now.</summary>
        internal int Threads
        {
            get { lock (_lock) return _threads; }
        }

        /// <summary>Runs a detection when its turn comes.</summary>
        internal Task<DetectionResult> Run(Func<DetectionResult> work, CancellationToken cancellation)
        {
            var job = new Job(work, cancellation);
            lock (_lock)
            {
                if (_closed) throw new ObjectDisposedException(typeof(Detector).FullName);
                if (cancellation.IsCancellationRequested) return Task.FromCanceled<DetectionResult>(cancellation);
                bool enough = _idle > _jobs.Count || _threads == _most;
                if (!enough)
                {
                    // First: if the system refuses, the caller learns it, and no job stays that reads the picture later.
                    new Thread(Work) { IsBackground = true, Name = "YoloQ detection" }.Start();
                    ++_threads;
                }
                _jobs.Enqueue(job);
                if (enough) Monitor.Pulse(_lock);
            }
            job.Watch(); // outside: a token that is cancelled already calls back here
            return job.Task;
        }

        /// <summary>Jobs that wait fail; threads end after the job they run.</summary>
        internal void Close()
        {
            Job[] waiting;
            lock (_lock)
            {
                _closed = true;
                waiting = _jobs.ToArray();
                _jobs.Clear();
                Monitor.PulseAll(_lock);
            }
            foreach (Job job in waiting) job.Refuse(new ObjectDisposedException(typeof(Detector).FullName));
        }

        private void Work()
        {
            for (Job job = Next(); job != null; job = Next()) job.Execute();
        }

        private Job Next()
        {
            lock (_lock)
            {
                while (_jobs.Count == 0)
                {
                    ++_idle;
                    bool pulsed = !_closed && Monitor.Wait(_lock, _idleMs);
                    --_idle;
                    if (_jobs.Count > 0 || pulsed) continue;
                    --_threads;
                    return null;
                }
                return _jobs.Dequeue();
            }
        }

        private sealed class Job
        {
            private const int Waiting = 0, Begun = 1;

            private readonly Func<DetectionResult> _work;
            private readonly CancellationToken _cancellation;
            private readonly TaskCompletionSource<DetectionResult> _source =
                new TaskCompletionSource<DetectionResult>(TaskCreationOptions.RunContinuationsAsynchronously);
            private int _state;

            internal Job(Func<DetectionResult> work, CancellationToken cancellation)
            {
                _work = work;
                _cancellation = cancellation;
            }

            internal Task<DetectionResult> Task { get { return _source.Task; } }

            internal void Watch()
            {
                if (!_cancellation.CanBeCanceled) return;
                CancellationTokenRegistration registration = _cancellation.Register(Cancel);
                _source.Task.ContinueWith(task => registration.Dispose(), CancellationToken.None,
                    TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
            }

            internal void Refuse(Exception error)
            {
                if (Begin()) _source.TrySetException(error);
            }

            internal void Execute()
            {
                if (!Begin()) return;
                try
                {
                    _source.TrySetResult(_work());
                }
                catch (Exception error)
                {
                    _source.TrySetException(error);
                }
            }

            private void Cancel()
            {
                if (Begin()) _source.TrySetCanceled(_cancellation);
            }

            // Exactly one of running, cancelling and refusing happens.
            private bool Begin()
            {
                return Interlocked.CompareExchange(ref _state, Begun, Waiting) == Waiting;
            }
        }
    }
}
