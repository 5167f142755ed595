// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Threading;

namespace YoloQ.Tests
{
    /// <summary>Many threads, the garbage collector, many frames.</summary>
    internal static class StressTests
    {
        private const int ThreadCount = 8;

        /// <summary>Runs `work` on 8 threads and hands on the first exception.</summary>
        private static void Together(Action<int> work)
        {
            Exception failure = null;
            var threads = new List<Thread>();
            for (int i = 0; i < ThreadCount; ++i)
            {
                int number = i;
                var thread = new Thread(() =>
                {
                    try
                    {
                        work(number);
                    }
                    catch (Exception error)
                    {
                        failure = error;
                    }
                });
                threads.Add(thread);
                thread.Start();
            }
            foreach (Thread thread in threads) thread.Join();
            if (failure != null) throw new CheckFailed("a thread failed: " + failure);
        }

        private static Thread Collector(Func<bool> stop)
        {
            var thread = new Thread(() =>
            {
                while (!stop())
                {
                    GC.Collect();
                    GC.WaitForPendingFinalizers();
                    Thread.Sleep(1);
                }
            });
            thread.Start();
            return thread;
        }

        public static void EightThreadsUnderGarbageCollection()
        {
            bool stop = false;
            Thread collector = Collector(() => Volatile.Read(ref stop));
            using (Detector detector = Given.Dummy(streams: 4))
            {
                Detection[] expected = detector.Detect(Given.View).ToArray();
                var clock = Stopwatch.StartNew();
                Together(number =>
                {
                    for (int i = 0; clock.ElapsedMilliseconds < 1000; ++i)
                    {
                        DetectionResult found = i % 3 == 0 ? detector.Detect(Given.View)
                            : i % 3 == 1 ? detector.Detect((byte[])Given.Pixels.Clone(), Given.Width, Given.Height, PixelFormat.Bgr24)
                            : detector.DetectAsync((byte[])Given.Pixels.Clone(), Given.Width, Given.Height, PixelFormat.Bgr24).Result;
                        Check.Same(expected, found);
                    }
                });
                Volatile.Write(ref stop, true);
                collector.Join();
                Check.True(detector.GetStatistics().Pictures > 50, "pictures: " + detector.GetStatistics().Pictures);
                Check.Equal(0L, detector.GetStatistics().Errors, "errors");
            }
        }

        public static void EightThreadsOnTheRealModel()
        {
            Detection[] expected = Given.Expected("whole");
            Together(number =>
            {
                for (int i = 0; i < 3; ++i) Check.Same(expected, Given.Demo.Detect(Given.View), Given.Tolerance);
            });
        }

        public static void DisposeWhileOthersDetect()
        {
            for (int round = 0; round < 10; ++round)
            {
                Detector detector = Given.Dummy(streams: 2);
                int ended = 0, started = 0;
                Together(number =>
                {
                    Interlocked.Increment(ref started);
                    if (number == 0)
                    {
                        SpinWait.SpinUntil(() => Volatile.Read(ref started) == ThreadCount);
                        Thread.Sleep(3);
                        detector.Dispose();
                        return;
                    }
                    try
                    {
                        while (true) detector.Detect(Given.View);
                    }
                    catch (ObjectDisposedException)
                    {
                        Interlocked.Increment(ref ended);
                    }
                });
                Check.Equal(ThreadCount - 1, ended, "threads that saw the end");
            }
        }

        public static void ForgottenDetectorsAreFreed()
        {
            // The library refuses more than 1024 detectors at a time.
            for (int i = 0; i < 1100; ++i)
            {
                Forget();
                if (i % 100 != 99) continue;
                GC.Collect();
                GC.WaitForPendingFinalizers();
                Thread.Sleep(20); // the pool frees them
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void Forget()
        {
            Check.Equal("tiny", Given.Dummy("tiny").Info.Name, "name");
        }

        public static void MemoryStaysFlat()
        {
            using (Detector detector = Given.Dummy("tiny"))
            {
                var buffer = new Detection[detector.Info.MaxDetections];
                Soak.Frames(detector, buffer, 3000);
                long managed = GC.GetTotalMemory(true), resident = Soak.ResidentBytes();
                Soak.Frames(detector, buffer, 10000);
                long grownManaged = GC.GetTotalMemory(true) - managed, grown = Soak.ResidentBytes() - resident;
                Check.True(grownManaged < 64 << 10, "managed bytes grown: " + grownManaged);
                Check.True(grown < 4 << 20, "resident bytes grown: " + grown);
            }
        }

        public static void AFrameAllocatesNothingButItsResult()
        {
            using (Detector detector = Given.Dummy("tiny"))
            {
                var buffer = new Detection[detector.Info.MaxDetections];
                Timings timings;
                ImageView view = Given.View;
                int count = detector.Detect(view, buffer, out timings);
                long result = 24 + 32 * count + 200; // the array, the result, and room for their headers
                detector.Detect(view);
                detector.Detect(Given.Pixels, Given.Width, Given.Height, PixelFormat.Bgr24);
                using (System.Drawing.Bitmap bitmap = BitmapTests.Make(System.Drawing.Imaging.PixelFormat.Format24bppRgb))
                {
                    detector.Detect(bitmap);
                    Check.Equal(0L, Allocated(() => detector.Detect(view, buffer, out timings)), "bytes for a buffer's frame");
                    long byView = Allocated(() => detector.Detect(view));
                    Check.True(byView <= result, "bytes for an ImageView: " + byView);
                    long byArray = Allocated(() => detector.Detect(Given.Pixels, Given.Width, Given.Height, PixelFormat.Bgr24));
                    Check.True(byArray <= result, "bytes for an array: " + byArray);
                    long byBitmap = Allocated(() => detector.Detect(bitmap));
                    Check.True(byBitmap <= result, "bytes for a Bitmap: " + byBitmap);
                }
            }
        }

        /// <summary>Managed bytes per call.</summary>
        private static long Allocated(Action call)
        {
            const int Calls = 400;
            call();
            long before = BytesOfThisThread();
            for (int i = 0; i < Calls; ++i) call();
            return (BytesOfThisThread() - before) / Calls;
        }

        // Mono has it too, but not the reference assemblies of .NET Framework 4.6.2.
        private static readonly Func<long> BytesOfThisThread = (Func<long>)Delegate.CreateDelegate(
            typeof(Func<long>), typeof(GC).GetMethod("GetAllocatedBytesForCurrentThread"));
    }
}
