// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Drawing;
using GdiFormat = System.Drawing.Imaging.PixelFormat;

namespace YoloQ.Tests
{
    /// <summary>What the binding adds to the native call, per 1080p frame, on the dummy backend.</summary>
    internal static class Bench
    {
        private const int Calls = 400, Rounds = 7;

        /// <summary>FILE: lines "name total_ms added_ms", medians. `added` is the time around the call less the stages that
        /// the native call reports of itself.</summary>
        internal static void Run(string[] arguments)
        {
            Given.Read(arguments[0]);
            using (Detector detector = Given.Dummy())
            {
                var buffer = new Detection[detector.Info.MaxDetections];
                var pixels = new byte[1920 * 1080 * 4];
                new Random(1).NextBytes(pixels);
                var pin = System.Runtime.InteropServices.GCHandle.Alloc(pixels, System.Runtime.InteropServices.GCHandleType.Pinned);
                var view = new ImageView(pin.AddrOfPinnedObject(), 1920, 1080, PixelFormat.Bgra32);
                var packed = new ImageView(pin.AddrOfPinnedObject(), 1920, 1080, PixelFormat.Bgr24);
                Measure("buffer-bgra32", () => { Timings timings; detector.Detect(view, buffer, out timings); return timings; });
                Measure("buffer-bgr24", () => { Timings timings; detector.Detect(packed, buffer, out timings); return timings; });
                Measure("view-bgra32", () => detector.Detect(view).Timings);
                Measure("array-bgra32", () => detector.Detect(pixels, 1920, 1080, PixelFormat.Bgra32).Timings);
                foreach (GdiFormat format in new[] { GdiFormat.Format32bppRgb, GdiFormat.Format24bppRgb, GdiFormat.Format8bppIndexed })
                    using (var bitmap = new Bitmap(1920, 1080, format))
                        Measure("bitmap-" + format, () => detector.Detect(bitmap).Timings);
                Measure("async-bgra32", () => detector.DetectAsync(view).Result.Timings);
                pin.Free();
            }
        }

        private static void Measure(string name, Func<Timings> call)
        {
            var totals = new List<double>();
            var added = new List<double>();
            for (int round = 0; round < Rounds; ++round)
            {
                double stages = 0;
                var clock = Stopwatch.StartNew();
                for (int i = 0; i < Calls; ++i) stages += call().TotalMs;
                double total = clock.Elapsed.TotalMilliseconds;
                totals.Add(total / Calls);
                added.Add((total - stages) / Calls);
            }
            totals.Sort();
            added.Sort();
            Console.WriteLine("{0} {1:0.0000} {2:0.0000}", name, totals[Rounds / 2], added[Rounds / 2]);
        }
    }
}
