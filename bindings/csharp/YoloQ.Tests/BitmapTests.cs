// SPDX-License-Identifier: Apache-2.0
using System;
using System.Drawing;
using System.Drawing.Imaging;
using System.Runtime.InteropServices;
using System.Threading.Tasks;
using GdiFormat = System.Drawing.Imaging.PixelFormat;

namespace YoloQ.Tests
{
    /// <summary>System.Drawing's bitmaps.</summary>
    internal static class BitmapTests
    {
        private static readonly Rectangle Part = new Rectangle(100, 50, 400, 500);

        /// <summary>The picture as a bitmap.</summary>
        internal static Bitmap Make(GdiFormat format)
        {
            var bitmap = new Bitmap(Given.Width, Given.Height, format);
            BitmapData data = bitmap.LockBits(new Rectangle(0, 0, bitmap.Width, bitmap.Height), ImageLockMode.WriteOnly, format);
            int bytes = Image.GetPixelFormatSize(format) / 8;
            int[] order = bytes == 1 ? new[] { 1 } : bytes == 3 ? new[] { 0, 1, 2 } : new[] { 0, 1, 2, 3 };
            byte[] rows = Given.Layout(order, data.Stride);
            if (bytes == 4)
                for (int i = 3; i < rows.Length; i += 4) rows[i] = 255; // premultiplied alpha changes colours otherwise
            Marshal.Copy(rows, 0, data.Scan0, rows.Length);
            bitmap.UnlockBits(data);
            return bitmap;
        }

        private static void Finds(string expected, DetectionResult found)
        {
            Check.Same(Given.Expected(expected), found, Given.Tolerance);
        }

        public static void EveryFormat()
        {
            foreach (GdiFormat format in new[]
            {
                GdiFormat.Format24bppRgb, GdiFormat.Format32bppRgb, GdiFormat.Format32bppArgb, GdiFormat.Format32bppPArgb
            })
                using (Bitmap bitmap = Make(format))
                    Finds("whole", Given.Demo.Detect(bitmap));
        }

        public static void Gray()
        {
            using (Bitmap bitmap = Make(GdiFormat.Format8bppIndexed)) Finds("gray", Given.Demo.Detect(bitmap));
        }

        public static void Region()
        {
            using (Bitmap bitmap = Make(GdiFormat.Format24bppRgb))
            {
                Finds("region", Given.Demo.Detect(bitmap, Part));
                Check.Throws<InvalidArgumentException>(() => Given.Demo.Detect(bitmap, Rectangle.Empty), "empty");
                Check.Throws<InvalidArgumentException>(() => Given.Demo.Detect(bitmap, new Rectangle(0, 0, 9999, 10)), "outside");
                Finds("whole", Given.Demo.Detect(bitmap)); // and it is not left locked
            }
        }

        public static void BottomUp()
        {
            int stride = (Given.Width * 4 + 3) / 4 * 4;
            byte[] rows = Given.Layout(new[] { 0, 1, 2, 3 }, -stride);
            for (int i = 3; i < rows.Length; i += 4) rows[i] = 255;
            GCHandle pin = GCHandle.Alloc(rows, GCHandleType.Pinned);
            IntPtr top = pin.AddrOfPinnedObject() + stride * (Given.Height - 1);
            using (var bitmap = new Bitmap(Given.Width, Given.Height, -stride, GdiFormat.Format32bppRgb, top))
                Finds("whole", Given.Demo.Detect(bitmap));
            pin.Free();
        }

        public static void OwnLock()
        {
            using (Bitmap bitmap = Make(GdiFormat.Format24bppRgb))
            {
                BitmapData data = bitmap.LockBits(new Rectangle(0, 0, bitmap.Width, bitmap.Height), ImageLockMode.ReadOnly, bitmap.PixelFormat);
                Check.Throws<InvalidArgumentException>(() => Given.Demo.Detect(bitmap), "UnlockBits");
                Finds("whole", Given.Demo.Detect(data.AsImageView()));
                bitmap.UnlockBits(data);
                Finds("whole", Given.Demo.Detect(bitmap));
            }
        }

        public static void Async()
        {
            using (Bitmap bitmap = Make(GdiFormat.Format24bppRgb))
            {
                Finds("whole", Given.Demo.DetectAsync(bitmap).Result);
                Finds("region", Given.Demo.DetectAsync(bitmap, Part).Result); // it was unlocked before the task ended
            }
        }

        public static void WrongUse()
        {
            Check.Throws<ArgumentNullException>(() => Given.Demo.Detect((Bitmap)null));
            Check.Throws<ArgumentNullException>(() => BitmapExtensions.Detect(null, new Bitmap(1, 1)));
            Bitmap gone = Make(GdiFormat.Format24bppRgb);
            gone.Dispose();
            Check.Throws<InvalidArgumentException>(() => Given.Demo.Detect(gone), "disposed");
            Check.Throws<InvalidArgumentException>(() => new BitmapData().AsImageView(), "LockBits");
            using (var odd = new Bitmap(64, 64, GdiFormat.Format16bppRgb565))
                Check.Throws<InvalidArgumentException>(() => Given.Demo.Detect(odd), "Format16bppRgb565", "Clone");
            Detector ended = Given.Dummy();
            ended.Dispose();
            using (Bitmap bitmap = Make(GdiFormat.Format24bppRgb))
            {
                Check.Throws<ObjectDisposedException>(() => ended.Detect(bitmap));
                Check.Throws<ObjectDisposedException>(() => ended.DetectAsync(bitmap).Wait());
                Finds("whole", Given.Demo.Detect(bitmap)); // and it is not left locked
            }
        }
    }
}
