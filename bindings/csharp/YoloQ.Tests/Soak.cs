// SPDX-License-Identifier: Apache-2.0
using System;
using System.Diagnostics;
using System.Drawing;
using System.Globalization;
using System.IO;

namespace YoloQ.Tests
{
    /// <summary>Many frames, and what they leave behind.</summary>
    internal static class Soak
    {
        /// <summary>FILE FRAMES PACKAGE BACKEND: a line "frames managed_bytes resident_bytes collections" ten times.</summary>
        internal static void Run(string[] arguments)
        {
            Given.Read(arguments[0]);
            int frames = int.Parse(arguments[1], CultureInfo.InvariantCulture);
            string backend = arguments[3];
            // A minute: this is about memory, on a machine that may have other work.
            var options = new DetectorOptions { Backend = backend, Timeout = TimeSpan.FromMinutes(1) };
            using (var detector = new Detector(Given.Text(arguments[2]), options))
            {
                var buffer = new Detection[detector.Info.MaxDetections];
                Frames(detector, buffer, frames / 10);
                for (int i = 1; i <= 10; ++i)
                {
                    Frames(detector, buffer, frames / 10);
                    Console.WriteLine("{0} {1} {2} {3}", frames / 10 * i, GC.GetTotalMemory(true), ResidentBytes(), GC.CollectionCount(0));
                }
            }
        }

        /// <summary>Detects in every way that a host would, over and over, on a small part of the picture.</summary>
        internal static void Frames(Detector detector, Detection[] buffer, int count)
        {
            const int Side = 64;
            Timings timings;
            var view = new ImageView(Given.Memory, Side, Side, PixelFormat.Bgr24, Given.Width * 3);
            using (var bitmap = new Bitmap(Side, Side, System.Drawing.Imaging.PixelFormat.Format32bppRgb))
                for (int i = 0; i < count; ++i)
                    switch (i % 5)
                    {
                        case 0: detector.Detect(view, buffer, out timings); break;
                        case 1: detector.Detect(Given.Pixels, Side, Side, PixelFormat.Bgr24); break;
                        case 2: detector.Detect(bitmap); break;
                        case 3: detector.DetectAsync(Given.Pixels, Side, Side, PixelFormat.Bgr24).Wait(); break;
                        default: detector.DetectBatch(new[] { view, view }); break;
                    }
        }

        internal static long ResidentBytes()
        {
            if (!File.Exists("/proc/self/statm"))
                using (Process process = Process.GetCurrentProcess()) return process.WorkingSet64;
            string pages = File.ReadAllText("/proc/self/statm").Split(' ')[1];
            return long.Parse(pages, CultureInfo.InvariantCulture) * 4096;
        }
    }
}
