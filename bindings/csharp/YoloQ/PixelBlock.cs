// SPDX-License-Identifier: Apache-2.0
using System;

namespace YoloQ
{
    /// <summary>Pictures in arrays and spans, whose size is known: checked before anything is read.</summary>
    internal static class PixelBlock
    {
        private const int MaxSide = 16384; // YQ_MAX_IMAGE_SIDE

        /// <summary>The view of a picture that lies in `length` bytes from `data`. A negative stride: the block begins with
        /// the bottom row.</summary>
        internal static ImageView View(IntPtr data, long length, int width, int height, PixelFormat format, int stride)
        {
            int pixel = BytesPerPixel(format);
            if (width < 1 || width > MaxSide || height < 1 || height > MaxSide)
                throw new InvalidArgumentException("the picture is " + width + " x " + height
                    + " pixels: each side must be 1 to " + MaxSide);
            long row = (long)width * pixel, step = Math.Abs((long)stride);
            if (step == 0) step = row;
            if (step < row)
                throw new InvalidArgumentException("stride is " + stride + ", but a row of " + width + " pixels in "
                    + format + " has " + row + " bytes: give the bytes from a row to the next, or 0 if the rows are packed");
            bool planar = format == PixelFormat.Nv12;
            if (planar && stride < 0)
                throw new InvalidArgumentException("stride is " + stride + ", but NV12 is never bottom-up: give a positive one");
            long rows = planar ? height + height / 2L : height;
            long needed = (rows - 1) * step + row;
            if (length < needed)
                throw new InvalidArgumentException("the picture has " + length + " bytes, but " + width + " x " + height
                    + " pixels in " + format + " with a stride of " + step + " need " + needed
                    + ": check width, height, format and stride");
            IntPtr top = stride < 0 ? Offset(data, (height - 1) * step) : data;
            var view = new ImageView(top, width, height, format, stride < 0 ? -step : step);
            if (planar)
            {
                view.Data2 = Offset(data, height * step);
                view.Stride2 = step;
            }
            return view;
        }

        private static IntPtr Offset(IntPtr address, long bytes)
        {
            return new IntPtr(address.ToInt64() + bytes);
        }

        private static int BytesPerPixel(PixelFormat format)
        {
            switch (format)
            {
                case PixelFormat.Gray8:
                case PixelFormat.Nv12: return 1;
                case PixelFormat.Bgr24:
                case PixelFormat.Rgb24: return 3;
                case PixelFormat.Bgra32:
                case PixelFormat.Rgba32: return 4;
                default:
                    throw new InvalidArgumentException("unknown pixel format " + (int)format + ": use one of PixelFormat");
            }
        }
    }
}
