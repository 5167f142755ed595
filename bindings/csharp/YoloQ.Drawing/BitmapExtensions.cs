// SPDX-License-Identifier: Apache-2.0
using System;
using System.Drawing;
using System.Drawing.Imaging;
using System.Threading;
using System.Threading.Tasks;
using GdiFormat = System.Drawing.Imaging.PixelFormat;

namespace YoloQ
{
    /// <summary>Detection on System.Drawing bitmaps, without a copy: the pixels are locked for the call.</summary>
    /// <remarks>Formats: 24bppRgb, 32bppRgb, 32bppArgb, 32bppPArgb (alpha is ignored), and 8bppIndexed, whose bytes are taken
    /// as gray values whatever the palette says: what gray-scale cameras deliver.
    /// <para>GDI+ lets one thread at a time use a Bitmap: while a detection runs, nothing else may draw, show or change
    /// it.</para></remarks>
    public static class BitmapExtensions
    {
        /// <summary>Finds the objects of a bitmap.</summary>
        /// <param name="detector">the detector</param>
        /// <param name="bitmap">locked for the call</param>
        /// <param name="region">look only here, in pixels; null: the whole picture</param>
        /// <param name="settings">for this call; default: the detector's</param>
        /// <returns>the objects, best score first, in pixels of the whole bitmap</returns>
        /// <exception cref="InvalidArgumentException">the bitmap is disposed, locked, or of another format</exception>
        public static DetectionResult Detect(this Detector detector, Bitmap bitmap, Rectangle? region = null,
            DetectSettings settings = default(DetectSettings))
        {
            if (detector == null) throw new ArgumentNullException("detector");
            using (var locked = new LockedBitmap(bitmap, region))
                return detector.Detect(locked.View, settings);
        }

        /// <summary>As Detect, without blocking the caller. The bitmap is locked now and until the task ends.</summary>
        /// <param name="detector">the detector</param>
        /// <param name="bitmap">not to be used by anything else until the task ends</param>
        /// <param name="region">look only here, in pixels; null: the whole picture</param>
        /// <param name="settings">for this call; default: the detector's</param>
        /// <param name="cancellation">cancels a detection that waits; one that runs finishes and gives its result</param>
        /// <exception cref="InvalidArgumentException">the bitmap is disposed, locked, or of another format</exception>
        public static Task<DetectionResult> DetectAsync(this Detector detector, Bitmap bitmap, Rectangle? region = null,
            DetectSettings settings = default(DetectSettings), CancellationToken cancellation = default(CancellationToken))
        {
            if (detector == null) throw new ArgumentNullException("detector");
            return DetectLocked(detector, new LockedBitmap(bitmap, region), settings, cancellation);
        }

        /// <summary>The picture of a BitmapData, for code that locks its bitmaps itself. Valid until UnlockBits.</summary>
        /// <exception cref="InvalidArgumentException">it is not locked, or of another format</exception>
        public static ImageView AsImageView(this BitmapData data)
        {
            if (data == null) throw new ArgumentNullException("data");
            if (data.Scan0 == IntPtr.Zero)
                throw new InvalidArgumentException("the BitmapData holds no pixels: use it between LockBits and UnlockBits");
            return new ImageView(data.Scan0, data.Width, data.Height, FormatOf(data.PixelFormat), data.Stride);
        }

        internal static PixelFormat FormatOf(GdiFormat format)
        {
            switch (format)
            {
                case GdiFormat.Format24bppRgb: return PixelFormat.Bgr24;
                case GdiFormat.Format32bppRgb:
                case GdiFormat.Format32bppArgb:
                case GdiFormat.Format32bppPArgb: return PixelFormat.Bgra32;
                case GdiFormat.Format8bppIndexed: return PixelFormat.Gray8;
                case GdiFormat.Undefined: // what a disposed bitmap says on some systems
                    throw new InvalidArgumentException("the bitmap has no pixel format: it was disposed");
                default:
                    throw new InvalidArgumentException("bitmaps of format " + format + " cannot be read without a copy: "
                        + "use bitmap.Clone(area, PixelFormat.Format24bppRgb), or have the camera deliver 8, 24 or 32 bits");
            }
        }

        internal static Roi RoiOf(Rectangle region)
        {
            if (region.Width <= 0 || region.Height <= 0)
                throw new InvalidArgumentException("the region " + region + " is empty: give null for the whole picture");
            return new Roi(region.X, region.Y, region.Width, region.Height);
        }

        private static async Task<DetectionResult> DetectLocked(Detector detector, LockedBitmap locked,
            DetectSettings settings, CancellationToken cancellation)
        {
            using (locked)
                return await detector.DetectAsync(locked.View, settings, cancellation).ConfigureAwait(false);
        }
    }
}
