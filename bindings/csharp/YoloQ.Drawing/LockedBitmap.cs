// SPDX-License-Identifier: Apache-2.0
using System;
using System.Drawing;
using System.Drawing.Imaging;

namespace YoloQ
{
    /// <summary>A bitmap whose pixels lie still until Dispose; nothing is copied.</summary>
    internal struct LockedBitmap : IDisposable
    {
        [ThreadStatic]
        private static BitmapData _spare; // a BitmapData is used again by the thread's next call: no garbage per frame

        private readonly Bitmap _bitmap;
        private readonly BitmapData _data;

        internal LockedBitmap(Bitmap bitmap, Rectangle? region)
        {
            if (bitmap == null) throw new ArgumentNullException("bitmap");
            Roi roi = region == null ? default(Roi) : BitmapExtensions.RoiOf(region.Value);
            _bitmap = bitmap;
            _data = _spare ?? new BitmapData();
            _spare = null;
            Lock(bitmap, _data);
            View = BitmapExtensions.AsImageView(_data);
            View.Region = roi;
        }

        internal ImageView View;

        public void Dispose()
        {
            _bitmap.UnlockBits(_data);
            _spare = _data;
        }

        private static void Lock(Bitmap bitmap, BitmapData data)
        {
            try
            {
                var format = bitmap.PixelFormat;
                BitmapExtensions.FormatOf(format);
                bitmap.LockBits(new Rectangle(0, 0, bitmap.Width, bitmap.Height), ImageLockMode.ReadOnly, format, data);
            }
            catch (InvalidOperationException error) // GDI+: locked, or in use elsewhere
            {
                throw new InvalidArgumentException("the bitmap is locked or in use by another thread: call UnlockBits first, "
                    + "pass its BitmapData, or give the detector a bitmap of its own", error);
            }
            catch (ArgumentException error) // GDI+: "Parameter is not valid"
            {
                throw new InvalidArgumentException("the bitmap cannot be read: it was disposed, or its pixels are gone; "
                    + "keep it alive until the call returns", error);
            }
        }
    }
}
