// SPDX-License-Identifier: Apache-2.0
using System;
using System.Linq;

namespace YoloQ.Tests
{
    /// <summary>DetectBatch.</summary>
    internal static class BatchTests
    {
        private static ImageView Crop(int width, int height)
        {
            return new ImageView(Given.Memory, width, height, PixelFormat.Bgr24, Given.Width * 3);
        }

        public static void FindsWhatSinglesFind()
        {
            var views = new[] { Given.View, Crop(300, 200), Crop(64, 640), Given.View };
            DetectionResult[] results = Given.Demo.DetectBatch(views);
            Check.Equal(views.Length, results.Length, "one result per picture");
            for (int i = 0; i < views.Length; ++i) Check.Same(Given.Demo.Detect(views[i]).ToArray(), results[i], Given.Tolerance);
            Check.Same(Given.Expected("whole"), results[0], Given.Tolerance);
        }

        public static void Empty()
        {
            Check.Equal(0, Given.Demo.DetectBatch(new ImageView[0]).Length, "results of no pictures");
            Check.Throws<ArgumentNullException>(() => Given.Demo.DetectBatch(null));
        }

        public static void AFailingPictureLeavesTheOthers()
        {
            var views = new[] { Given.View, Crop(0, 10), Given.View, Crop(10, -1) };
            var error = Check.Throws<BatchException>(() => Given.Demo.DetectBatch(views), "2 of 4 pictures failed; picture 1:");
            Check.Equal(Status.InvalidArgument, error.Status, "status");
            Check.True(error.Errors.Keys.OrderBy(i => i).SequenceEqual(new[] { 1, 3 }), "which failed");
            Check.True(error.Errors.Values.All(each => each is InvalidArgumentException), "why");
            Check.True(error.Results[1] == null && error.Results[3] == null, "no results of those");
            Check.Same(Given.Expected("whole"), error.Results[0], Given.Tolerance);
            Check.Same(Given.Expected("whole"), error.Results[2], Given.Tolerance);
        }

        public static void ASettingThatIsImpossible()
        {
            Check.Throws<InvalidArgumentException>(
                () => Given.Demo.DetectBatch(new[] { Given.View }, new DetectSettings { ScoreThreshold = 7 }), "score_threshold");
        }

        public static void ABufferThatBecameTooSmallIsDropped()
        {
            var pool = new BufferPool();
            Detection[] largest = null;
            for (int length = 1; length <= 100; ++length) pool.Return(largest = pool.Rent(length)); // more than it keeps
            Check.True(ReferenceEquals(largest, pool.Rent(100)), "the largest is used again");
        }

        public static void Disposed()
        {
            Detector detector = Given.Dummy();
            detector.Dispose();
            Check.Throws<ObjectDisposedException>(() => detector.DetectBatch(new[] { Given.View }));
        }
    }
}
