// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.InteropServices;

namespace YoloQ.Tests
{
    /// <summary>Every way to hand over a picture finds what the Python binding finds.</summary>
    internal static class OverloadTests
    {
        private static readonly Roi Part = new Roi(100, 50, 400, 500); // as the driver's expected.region
        private static readonly int[] Bgr = { 0, 1, 2 }, Rgb = { 2, 1, 0 }, Bgra = { 0, 1, 2, 3 }, Rgba = { 2, 1, 0, 3 };

        private static void Finds(string expected, DetectionResult found)
        {
            Check.Same(Given.Expected(expected), found, Given.Tolerance);
        }

        public static void ImageView()
        {
            DetectionResult found = Given.Demo.Detect(Given.View);
            Check.True(found.Count > 5, "the demo picture has objects");
            Finds("whole", found);
            Check.Equal(found.Count, found.Found, "Found");
            Check.True(found.Timings.EngineMs > 0 && found.Timings.PreprocessMs > 0, "timings");
        }

        public static void ImageViewRegion()
        {
            ImageView view = Given.View;
            view.Region = Part;
            Finds("region", Given.Demo.Detect(view));
        }

        public static void ImageViewBottomUp()
        {
            int stride = Given.Width * 3 + 5;
            GCHandle pin = GCHandle.Alloc(Given.Layout(Bgr, -stride), GCHandleType.Pinned);
            IntPtr top = pin.AddrOfPinnedObject() + stride * (Given.Height - 1);
            Finds("whole", Given.Demo.Detect(new YoloQ.ImageView(top, Given.Width, Given.Height, PixelFormat.Bgr24, -stride)));
            pin.Free();
        }

        public static void Array()
        {
            Finds("whole", Given.Demo.Detect(Given.Pixels, Given.Width, Given.Height, PixelFormat.Bgr24));
        }

        public static void ArrayRegion()
        {
            Finds("region", Given.Demo.Detect(Given.Pixels, Given.Width, Given.Height, PixelFormat.Bgr24, region: Part));
        }

        public static void ArrayWithStride()
        {
            int stride = Given.Width * 3 + 13;
            Finds("whole", Given.Demo.Detect(Given.Layout(Bgr, stride), Given.Width, Given.Height, PixelFormat.Bgr24, stride));
        }

        public static void ArrayBottomUp()
        {
            int stride = -Given.Width * 3;
            Finds("whole", Given.Demo.Detect(Given.Layout(Bgr, stride), Given.Width, Given.Height, PixelFormat.Bgr24, stride));
        }

        public static void ArrayOfEveryColourFormat()
        {
            int three = Given.Width * 3, four = Given.Width * 4;
            Finds("whole", Given.Demo.Detect(Given.Layout(Rgb, three), Given.Width, Given.Height, PixelFormat.Rgb24));
            Finds("whole", Given.Demo.Detect(Given.Layout(Bgra, four), Given.Width, Given.Height, PixelFormat.Bgra32));
            Finds("whole", Given.Demo.Detect(Given.Layout(Rgba, four), Given.Width, Given.Height, PixelFormat.Rgba32));
        }

        public static void ArrayGray()
        {
            Finds("gray", Given.Demo.Detect(Given.Layout(new[] { 1 }, Given.Width), Given.Width, Given.Height, PixelFormat.Gray8));
        }

        public static void ArrayNv12()
        {
            byte[] planes = System.IO.File.ReadAllBytes(Given.Text("nv12"));
            Finds("nv12", Given.Demo.Detect(planes, Given.Width, Given.Height, PixelFormat.Nv12));
            GCHandle pin = GCHandle.Alloc(planes, GCHandleType.Pinned);
            var view = new YoloQ.ImageView(pin.AddrOfPinnedObject(), Given.Width, Given.Height, PixelFormat.Nv12)
            {
                Data2 = pin.AddrOfPinnedObject() + Given.Width * Given.Height,
                ColorSpace = ColorSpace.Bt709Full
            };
            Finds("nv12.709", Given.Demo.Detect(view));
            pin.Free();
        }

#if NETCOREAPP
        public static void Span()
        {
            var span = new ReadOnlySpan<byte>(Given.Pixels);
            Finds("whole", Given.Demo.Detect(span, Given.Width, Given.Height, PixelFormat.Bgr24));
            Finds("region", Given.Demo.Detect(span, Given.Width, Given.Height, PixelFormat.Bgr24, region: Part));
        }

        public static void SpanTooShort()
        {
            Check.Throws<InvalidArgumentException>(
                () => Given.Demo.Detect(new ReadOnlySpan<byte>(Given.Pixels, 1, Given.Pixels.Length - 1), Given.Width,
                    Given.Height, PixelFormat.Bgr24), "need");
        }
#endif

        public static void Buffer()
        {
            var buffer = new Detection[Given.Demo.Info.MaxDetections];
            Timings timings;
            int count = Given.Demo.Detect(Given.View, buffer, out timings);
            Check.Same(buffer.Take(count).ToArray(), Given.Demo.Detect(Given.View));
            Check.True(timings.EngineMs > 0, "timings");
            var two = new Detection[2];
            Check.Equal(2, Given.Demo.Detect(Given.View, two, out timings), "a small buffer is filled");
            Check.Equal(buffer[1].Score, two[1].Score, "with the best");
            Check.Equal(0, Given.Demo.Detect(Given.View, new Detection[0], out timings), "an empty buffer");
        }

        public static void Settings()
        {
            DetectionResult all = Given.Demo.Detect(Given.View);
            DetectionResult few = Given.Demo.Detect(Given.View, new DetectSettings { ScoreThreshold = 0.5f });
            Check.True(few.Count > 0 && few.Count < all.Count, "a threshold between the scores");
            Check.Same(all.Where(detection => detection.Score >= 0.5f).ToArray(), few, Given.Tolerance);
            Check.Equal(few.Count, Given.Demo.Detect(Given.View, new DetectSettings
            {
                ScoreThreshold = 0.5f, TimeoutMilliseconds = System.Threading.Timeout.Infinite
            }).Count, "no deadline");
        }

        public static void ResultIsAList()
        {
            DetectionResult result = Given.Demo.Detect(Given.View);
            int i = 0;
            foreach (Detection detection in result) Check.Equal(result[i++], detection, "foreach");
            Check.Equal(result.Count, i, "foreach's length");
            Check.True(((IEnumerable<Detection>)result).SequenceEqual(result.ToArray()), "LINQ");
            Check.Equal(result.ClassNames[result[0].ClassId], result.NameOf(result[0]), "NameOf");
            result.ToArray()[0].Score = 0;
            Check.True(result[0].Score > 0, "ToArray is a copy");
            Check.Throws<IndexOutOfRangeException>(() => result[result.Count].ToString());
        }

        public static void Info()
        {
            ModelInfo info = Given.Demo.Info;
            Check.Equal("cpu", info.Backend, "backend");
            Check.Equal("cpu", info.Chip, "chip");
            Check.Equal("int8", info.Precision, "precision");
            Check.Equal("detect", info.Task, "task");
            Check.Equal(640, info.InputWidth, "input width");
            Check.Equal(640, info.InputHeight, "input height");
            Check.Equal(Given.Text("classes"), string.Join(",", info.ClassNames), "class names");
            Check.Equal(300, info.MaxDetections, "most detections");
            Check.True(info.BackendVersion.StartsWith("OpenVINO", StringComparison.Ordinal), info.BackendVersion);
            Check.True(info.Streams >= 1 && info.Batch == 1 && info.InputChannels == 3 && !info.NeedsNms, "the rest");
        }

        public static void Options()
        {
            var options = new DetectorOptions
            {
                Backend = "dummy", Device = "0", ScoreThreshold = 0.3f, IouThreshold = 0.4f, MaxDetections = 7, Streams = 2,
                Timeout = TimeSpan.FromSeconds(3), Hint = Hint.Latency
            };
            using (var detector = new Detector(Given.Text("dummy"), options))
            {
                Check.Equal(0.3f, detector.Info.ScoreThreshold, "score threshold");
                Check.Equal(0.4f, detector.Info.IouThreshold, "IoU threshold");
                Check.Equal(7, detector.Info.MaxDetections, "most detections");
                Check.Equal(2, detector.Info.Streams, "streams");
                Check.Equal(3000, detector.Info.TimeoutMilliseconds, "deadline");
                Check.Equal(7, detector.Detect(Given.View).Count, "detections");
                DetectionResult best = detector.Detect(Given.View, new DetectSettings { MaxDetections = 3 });
                Check.True(best.Count == 3 && best.Found == 7, "Found counts what the call's MaxDetections cut");
                Check.Throws<InvalidArgumentException>(
                    () => detector.Detect(Given.View, new DetectSettings { MaxDetections = 8 }), "DetectorOptions");
            }
            using (Detector detector = Given.Dummy(timeout: System.Threading.Timeout.InfiniteTimeSpan))
                Check.Equal(System.Threading.Timeout.Infinite, detector.Info.TimeoutMilliseconds, "no deadline");
        }

        public static void Statistics()
        {
            using (Detector detector = Given.Dummy("healthy"))
            {
                DetectionResult result = detector.Detect(Given.View);
                detector.Detect(Given.View);
                DetectorStatistics statistics = detector.GetStatistics();
                Check.Equal(2L, statistics.Pictures, "pictures");
                Check.Equal(0L, statistics.Errors, "errors");
                Check.Equal(2L * result.Count, statistics.Detections, "detections");
                Check.True(statistics.Total.MaxMs >= statistics.Total.P50Ms && statistics.Total.P50Ms > 0, "times");
                Check.Equal(61f, statistics.TemperatureC, "temperature");
                Check.Equal(null, statistics.PowerW, "what the device does not tell");
                Check.Equal(null, statistics.MemoryTotalBytes, "what the device does not tell");
                Check.Equal(1L << 40, statistics.MemoryUsedBytes, "memory");
            }
        }

        public static void Backends()
        {
            IReadOnlyList<BackendDescription> backends = Library.Backends;
            Check.True(backends.Any(backend => backend.Name == "cpu" && backend.IsUsable && backend.Reason == ""), "cpu");
            Check.Equal("0.1.0", Library.Version, "version");
        }
    }
}
