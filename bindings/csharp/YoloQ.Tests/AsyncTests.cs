// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;

namespace YoloQ.Tests
{
    /// <summary>DetectAsync. The package "slow" takes 200 ms a picture.</summary>
    internal static class AsyncTests
    {
        private const int SlowMs = 200;

        public static void FindsWhatDetectFinds()
        {
            Check.Same(Given.Expected("whole"), Given.Demo.DetectAsync(Given.View).Result, Given.Tolerance);
            Check.Same(Given.Expected("whole"),
                Given.Demo.DetectAsync(Given.Pixels, Given.Width, Given.Height, PixelFormat.Bgr24).Result, Given.Tolerance);
        }

        public static void ArgumentsAreCheckedAtOnce()
        {
            Check.Throws<ArgumentNullException>(() => Given.Demo.DetectAsync(null, 1, 1, PixelFormat.Gray8));
            Check.Throws<InvalidArgumentException>(() => Given.Demo.DetectAsync(new byte[5], 2, 3, PixelFormat.Gray8), "need 6");
            Check.Throws<InvalidArgumentException>(
                () => Given.Demo.DetectAsync(Given.View, new DetectSettings { TimeoutMilliseconds = -2 }), "TimeoutMilliseconds");
        }

        public static void AnErrorOfTheLibraryEndsTheTask()
        {
            var view = Given.View;
            view.Region = new Roi(0, 0, 99999, 1);
            Check.Throws<InvalidArgumentException>(() => Given.Demo.DetectAsync(view).Wait(), "ROI");
        }

        public static void CancelledBeforeItStarts()
        {
            using (Detector detector = Given.Dummy())
            {
                Task<DetectionResult> task = detector.DetectAsync(Given.View, cancellation: new CancellationToken(true));
                Check.Throws<TaskCanceledException>(() => task.Wait());
                Check.Soon(() => task.IsCanceled, "cancelled");
                Check.Equal(0L, detector.GetStatistics().Pictures, "pictures");
            }
        }

        public static void CancelledWhileItWaits()
        {
            using (Detector detector = Given.Dummy("slow", streams: 1))
            using (var source = new CancellationTokenSource())
            {
                Task<DetectionResult> first = detector.DetectAsync(Given.View);
                Task<DetectionResult> second = detector.DetectAsync(Given.View, cancellation: source.Token);
                Check.Soon(() => detector.GetStatistics().StreamsBusy == 1, "the first runs");
                var clock = Stopwatch.StartNew();
                source.Cancel();
                Check.Throws<TaskCanceledException>(() => second.Wait());
                Check.True(clock.ElapsedMilliseconds < SlowMs, "at once, not when its turn comes");
                Check.True(first.Result.Count > 0, "the first is not disturbed");
                Check.Equal(1L, detector.GetStatistics().Pictures, "the second never ran");
            }
        }

        public static void CancelledWhileItRunsGivesItsResult()
        {
            using (Detector detector = Given.Dummy("slow", streams: 1))
            using (var source = new CancellationTokenSource())
            {
                Task<DetectionResult> task = detector.DetectAsync(Given.View, cancellation: source.Token);
                Check.Soon(() => detector.GetStatistics().StreamsBusy == 1, "it runs");
                source.Cancel();
                Check.True(task.Result.Count > 0, "the result");
            }
        }

        public static void TheDeadlineIncludesTheQueue()
        {
            using (Detector detector = Given.Dummy("slow", streams: 1))
            {
                Task<DetectionResult> first = detector.DetectAsync(Given.View);
                Task<DetectionResult> late = detector.DetectAsync(Given.View, new DetectSettings { TimeoutMilliseconds = 50 });
                Task<DetectionResult> patient = detector.DetectAsync(Given.View, new DetectSettings { TimeoutMilliseconds = 5000 });
                Check.Throws<DetectionTimeoutException>(() => late.Wait(), "50 ms");
                Check.True(first.Result.Timings.QueueMs < patient.Result.Timings.QueueMs, "waiting is counted");
                Check.True(patient.Result.Timings.QueueMs > SlowMs / 2, "waiting is counted");
            }
        }

        public static void DisposeEndsWhatWaits()
        {
            Detector detector = Given.Dummy("slow", streams: 1);
            Task<DetectionResult> first = detector.DetectAsync(Given.View);
            Task<DetectionResult> second = detector.DetectAsync(Given.View);
            Check.Soon(() => detector.GetStatistics().StreamsBusy == 1, "the first runs");
            var clock = Stopwatch.StartNew();
            detector.Dispose();
            Check.True(clock.ElapsedMilliseconds < SlowMs, "Dispose does not wait for the call that runs");
            Check.Throws<ObjectDisposedException>(() => second.Wait());
            Check.True(first.Result.Count > 0, "what ran has its result");
            Check.Throws<ObjectDisposedException>(() => detector.DetectAsync(Given.View).Wait());
        }

        public static void TheThreadPoolIsLeftAlone()
        {
            int workers, ports, free;
            ThreadPool.GetMaxThreads(out workers, out ports);
            using (Detector detector = Given.Dummy("slow", streams: 4))
            {
                var tasks = new List<Task<DetectionResult>>();
                for (int i = 0; i < 12; ++i) tasks.Add(detector.DetectAsync(Given.View));
                Check.Soon(() => detector.GetStatistics().StreamsBusy == 4, "all streams work");
                ThreadPool.GetAvailableThreads(out free, out ports);
                Check.True(workers - free <= 1, "threads of the pool in use: " + (workers - free));
                var clock = Stopwatch.StartNew();
                Task.WaitAll(tasks.Cast<Task>().ToArray());
                Check.True(clock.ElapsedMilliseconds < 12 * SlowMs, "four at once");
                Detection[] expected = tasks[0].Result.ToArray();
                foreach (Task<DetectionResult> task in tasks) Check.Same(expected, task.Result);
            }
        }

        public static void ContinuationsDoNotHoldTheQueue()
        {
            using (Detector detector = Given.Dummy("slow", streams: 1))
            using (var gate = new ManualResetEventSlim())
            {
                Task blocked = detector.DetectAsync(Given.View)
                    .ContinueWith(task => gate.Wait(10000), TaskContinuationOptions.ExecuteSynchronously);
                Check.True(detector.DetectAsync(Given.View).Wait(5000), "the next one runs");
                gate.Set();
                blocked.Wait();
            }
        }

        public static void ThreadsEndWhenThereIsNothingToDo()
        {
            var queue = new DetectionQueue(3, 50);
            var jobs = new List<Task<DetectionResult>>();
            for (int i = 0; i < 20; ++i) jobs.Add(queue.Run(() => { Thread.Sleep(2); return null; }, CancellationToken.None));
            Check.True(queue.Threads <= 3, "threads: " + queue.Threads);
            Task.WaitAll(jobs.Cast<Task>().ToArray());
            Check.Soon(() => queue.Threads == 0, "threads end");
            Check.True(queue.Run(() => null, CancellationToken.None).Wait(5000), "and start again");
            queue.Close();
            Check.Soon(() => queue.Threads == 0, "threads end with the queue");
        }
    }
}
