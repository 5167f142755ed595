// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using YoloQ.Native;

namespace YoloQ.Tests
{
    /// <summary>Wrong use gives a typed exception with a sentence that helps.</summary>
    internal static class WrongUseTests
    {
        private static Detector Open(string package, DetectorOptions options = null)
        {
            return new Detector(Given.Text(package), options);
        }

        public static void Nulls()
        {
            Timings timings;
            Check.Throws<ArgumentNullException>(() => new Detector(null));
            Check.Throws<ArgumentNullException>(() => Given.Demo.Detect(null, 1, 1, PixelFormat.Gray8));
            Check.Throws<ArgumentNullException>(() => Given.Demo.Detect(Given.View, null, out timings));
            Check.Throws<ArgumentNullException>(() => Library.Load(null));
        }

        public static void Disposed()
        {
            Timings timings;
            Detector detector = Given.Dummy();
            detector.Dispose();
            detector.Dispose();
            Check.Throws<ObjectDisposedException>(() => detector.Detect(Given.View));
            Check.Throws<ObjectDisposedException>(() => detector.Detect(new byte[1], 1, 1, PixelFormat.Gray8));
            Check.Throws<ObjectDisposedException>(() => detector.Detect(Given.View, new Detection[1], out timings));
            Check.Throws<ObjectDisposedException>(() => detector.DetectAsync(Given.View));
            Check.Throws<ObjectDisposedException>(() => detector.GetStatistics());
            Check.Equal("dummy", detector.Info.Name, "Info stays");
        }

        public static void WrongSizes()
        {
            var six = new byte[6];
            Check.Throws<InvalidArgumentException>(() => Given.Demo.Detect(six, 2, 3, PixelFormat.Gray8, 1), "stride is 1", "2 bytes");
            Check.Throws<InvalidArgumentException>(() => Given.Demo.Detect(six, 2, 3, PixelFormat.Gray8, -1), "stride is -1");
            Check.Throws<InvalidArgumentException>(() => Given.Demo.Detect(six, 2, 3, PixelFormat.Gray8, 3), "need 8");
            Check.Throws<InvalidArgumentException>(() => Given.Demo.Detect(six, 2, 3, PixelFormat.Gray8, int.MinValue), "need");
            Check.Throws<InvalidArgumentException>(() => Given.Demo.Detect(six, 2, 3, PixelFormat.Gray8, int.MaxValue), "need");
            Check.Throws<InvalidArgumentException>(() => Given.Demo.Detect(six, 2, 3, PixelFormat.Bgr24), "need 18");
            Check.Throws<InvalidArgumentException>(() => Given.Demo.Detect(six, 2, 4, PixelFormat.Nv12), "need 12");
            Check.Throws<InvalidArgumentException>(() => Given.Demo.Detect(six, 2, 2, PixelFormat.Nv12, -2), "NV12");
            Check.Throws<InvalidArgumentException>(() => Given.Demo.Detect(six, 0, 3, PixelFormat.Gray8), "0 x 3");
            Check.Throws<InvalidArgumentException>(() => Given.Demo.Detect(six, 70000, 70000, PixelFormat.Bgra32), "16384");
            Check.Throws<InvalidArgumentException>(() => Given.Demo.Detect(six, 2, 3, (PixelFormat)9), "pixel format 9");
            Check.Throws<InvalidArgumentException>(() => Given.Demo.Detect(new byte[0], 1, 1, PixelFormat.Gray8), "0 bytes");
        }

        public static void WrongViews()
        {
            ImageView stride = Given.View, format = Given.View;
            stride.Stride = 5;
            format.Format = 0;
            Check.Throws<InvalidArgumentException>(() => Given.Demo.Detect(stride), "stride is 5");
            Check.Throws<InvalidArgumentException>(() => Given.Demo.Detect(format), "format is 0");
            Check.Throws<InvalidArgumentException>(() => Given.Demo.Detect(default(ImageView)), "image");
            Check.Throws<InvalidArgumentException>(
                () => Given.Demo.Detect(new ImageView(IntPtr.Zero, 4, 4, PixelFormat.Gray8)), "NULL");
        }

        public static void WrongSettings()
        {
            Check.Throws<InvalidArgumentException>(
                () => Given.Demo.Detect(Given.View, new DetectSettings { ScoreThreshold = float.NaN }), "score_threshold");
            Check.Throws<InvalidArgumentException>(
                () => Given.Demo.Detect(Given.View, new DetectSettings { IouThreshold = -1 }), "iou_threshold");
            Check.Throws<InvalidArgumentException>(
                () => Given.Demo.Detect(Given.View, new DetectSettings { TimeoutMilliseconds = -7 }), "-7");
        }

        public static void WrongOptions()
        {
            Check.Throws<InvalidArgumentException>(() => Open("dummy", new DetectorOptions { Streams = -1 }), "Streams is -1");
            Check.Throws<InvalidArgumentException>(() => Open("dummy", new DetectorOptions { Streams = 1000 }), "1000");
            Check.Throws<InvalidArgumentException>(() => Open("dummy", new DetectorOptions { MaxDetections = -1 }), "MaxDetections");
            Check.Throws<InvalidArgumentException>(() => Open("dummy", new DetectorOptions { Timeout = TimeSpan.Zero }), "Timeout");
            Check.Throws<InvalidArgumentException>(() => Open("dummy", new DetectorOptions { Device = "one" }), "one");
            Check.Throws<InvalidArgumentException>(() => Open("dummy", new DetectorOptions { Backend = "cpu\0x" }), "NUL");
            Check.Throws<InvalidArgumentException>(() => new Detector("half \ud800 pair"), "Unicode");
            Check.Throws<NotFoundException>(() => Open("dummy", new DetectorOptions { Backend = "nosuch" }), "nosuch");
        }

        public static void MissingPackage()
        {
            Check.Throws<NotFoundException>(() => new Detector("there is none.yoloq"), "there is none.yoloq");
            Check.Throws<InvalidArgumentException>(() => new Detector(""));
        }

        public static void PackageOfAnotherChip()
        {
            var error = Check.Throws<PackageException>(() => Open("ascend"), "ascend310p");
            Check.Equal(Status.Package, error.Status, "status");
        }

        public static void DamagedPackage()
        {
            Check.Throws<PackageException>(() => Open("damaged"), "model.bin");
        }

        public static void ChinesePath()
        {
            using (var detector = Open("chinese", new DetectorOptions { Backend = "dummy" }))
            {
                Check.Equal("螺丝,螺母,垫圈", string.Join(",", detector.Info.ClassNames), "class names");
                Check.Equal("紧固件", detector.Info.Name, "name");
            }
            Check.Throws<NotFoundException>(() => new Detector("没有/模型.yoloq"), "没有");
        }

        public static void FailuresOfTheBackend()
        {
            using (Detector detector = Given.Dummy("failing"))
            {
                detector.Detect(Given.View);
                Check.Throws<BackendException>(() => detector.Detect(Given.View), "dummy");
            }
            using (Detector detector = Given.Dummy("lost"))
            {
                // Every second request is lost, counted over all detectors.
                var error = Check.Throws<DeviceException>(() =>
                {
                    detector.Detect(Given.View);
                    detector.Detect(Given.View);
                });
                Check.Equal(Status.Device, error.Status, "status");
                detector.Detect(Given.View); // the device came back
                Check.Equal(1L, detector.GetStatistics().DeviceRecovered, "recoveries");
            }
            using (Detector detector = Given.Dummy("slow", streams: 1))
            {
                Check.Throws<DetectionTimeoutException>(
                    () => detector.Detect(Given.View, new DetectSettings { TimeoutMilliseconds = 20 }), "20 ms");
                Check.Equal(1L, detector.GetStatistics().Timeouts, "timeouts");
            }
        }

        public static void A32BitProcess()
        {
            Check.Equal(null, NativeLoader.Refusal(8), "a 64-bit process");
            Check.Contains("32-bit process", NativeLoader.Refusal(4));
            Check.Contains("x64", NativeLoader.Refusal(4));
        }

        public static void ALibraryIsLoadedAlready()
        {
            string path = Library.Path;
            Library.Load(path); // the same one is fine
            Check.Throws<InvalidOperationException>(() => Library.Load("another.so"), path, "Library.Load");
        }

        public static void EveryStatusHasItsException()
        {
            var kinds = new HashSet<Type>();
            foreach (Status status in Enum.GetValues(typeof(Status)))
            {
                YoloException error = YoloException.From((int)status, "text");
                Check.Equal(status, error.Status, "status");
                Check.Equal("text", error.Message, "message");
                Check.True(kinds.Add(error.GetType()), error.GetType().Name);
            }
            Check.Equal(99, (int)YoloException.From(99, "from a newer library").Status, "an unknown status");
        }
    }
}
