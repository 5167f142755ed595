// SPDX-License-Identifier: Apache-2.0
using System;
using System.Drawing;
using System.Drawing.Imaging;
using System.Runtime.InteropServices;
using GdiFormat = System.Drawing.Imaging.PixelFormat;

namespace YoloQ.WinForms.Inspection
{
    /// <summary>
    /// A picture in memory of its own, 32 bits a pixel (blue, green, red, 255), packed. The detector and the screen look
    /// at the same bytes. Memory only grows, so a running line allocates nothing. One thread at a time.
    /// </summary>
    public sealed unsafe class PixelBuffer : IDisposable
    {
        private IntPtr _memory;
        private long _capacity;
        private Bitmap _view;

        public int Width { get; private set; }
        public int Height { get; private set; }

        public int Stride
        {
            get { return Width * 4; }
        }

        /// <summary>The top left pixel; zero before the first <see cref="Resize"/>.</summary>
        public IntPtr Data
        {
            get { return _memory; }
        }

        public bool IsEmpty
        {
            get { return Width == 0; }
        }

        /// <summary>The same pixels for drawing; valid until the next Resize or Dispose.</summary>
        public Bitmap View
        {
            get { return _view = _view ?? new Bitmap(Width, Height, Stride, GdiFormat.Format32bppRgb, _memory); }
        }

        /// <summary>The pixels for the detector; valid until the next Resize or Dispose.</summary>
        public ImageView ToImage()
        {
            return new ImageView(_memory, Width, Height, PixelFormat.Bgra32, Stride);
        }

        /// <summary>Makes room for a picture of this size; its pixels are undefined.</summary>
        public void Resize(int width, int height)
        {
            if (width <= 0 || height <= 0)
            {
                throw new ArgumentOutOfRangeException(nameof(width), "a picture has at least one pixel");
            }
            if (width == Width && height == Height)
            {
                return;
            }
            DropView();
            long size = 4L * width * height;
            if (size > _capacity)
            {
                Width = Height = 0; // empty, should there be no memory for it
                Free();
                _memory = Marshal.AllocHGlobal(new IntPtr(size));
                _capacity = size;
                GC.AddMemoryPressure(size);
            }
            Width = width;
            Height = height;
        }

        /// <summary>Takes over a decoded picture.</summary>
        public void CopyFrom(Bitmap bitmap)
        {
            var all = new Rectangle(0, 0, bitmap.Width, bitmap.Height);
            BitmapData bits = bitmap.LockBits(all, ImageLockMode.ReadOnly, GdiFormat.Format24bppRgb);
            try
            {
                CopyFrom(bits.Scan0, bits.Stride, bits.Width, bits.Height, PixelFormat.Bgr24);
            }
            finally
            {
                bitmap.UnlockBits(bits);
            }
        }

        /// <summary>Takes over a camera's picture: Gray8, Bgr24, Rgb24, Bgra32 or Rgba32.</summary>
        /// <param name="stride">bytes from a row to the row below it</param>
        public void CopyFrom(IntPtr data, long stride, int width, int height, PixelFormat format)
        {
            int step = BytesPerPixel(format);
            bool redFirst = format == PixelFormat.Rgb24 || format == PixelFormat.Rgba32;
            int red = step == 1 ? 0 : redFirst ? 0 : 2;
            int green = step == 1 ? 0 : 1;
            int blue = step == 1 ? 0 : 2 - red;
            Resize(width, height);
            for (int y = 0; y < height; y++)
            {
                byte* from = (byte*)data + y * stride;
                uint* to = (uint*)((byte*)_memory + (long)y * Stride);
                for (int x = 0; x < width; x++, from += step)
                {
                    to[x] = 0xFF000000u | (uint)from[red] << 16 | (uint)from[green] << 8 | from[blue];
                }
            }
        }

        /// <summary>Becomes a copy of another picture.</summary>
        public void CopyFrom(PixelBuffer other)
        {
            Resize(other.Width, other.Height);
            Buffer.MemoryCopy((void*)other._memory, (void*)_memory, _capacity, 4L * Width * Height);
        }

        /// <summary>Becomes a copy made smaller by a whole factor, each pixel the mean of its square.</summary>
        public void Reduce(PixelBuffer other, int factor)
        {
            Resize(Math.Max(1, other.Width / factor), Math.Max(1, other.Height / factor));
            int rows = Math.Min(factor, other.Height);
            int columns = Math.Min(factor, other.Width);
            for (int y = 0; y < Height; y++)
            {
                uint* to = (uint*)((byte*)_memory + (long)y * Stride);
                for (int x = 0; x < Width; x++)
                {
                    byte* corner = (byte*)other._memory + (long)y * factor * other.Stride + (long)x * factor * 4;
                    to[x] = Mean(corner, other.Stride, columns, rows);
                }
            }
        }

        public void Dispose()
        {
            DropView();
            Free();
            Width = Height = 0;
        }

        private static uint Mean(byte* corner, int stride, int columns, int rows)
        {
            uint blue = 0, green = 0, red = 0, count = (uint)(columns * rows);
            for (int row = 0; row < rows; row++)
            {
                byte* from = corner + (long)row * stride;
                for (int column = 0; column < columns; column++, from += 4)
                {
                    blue += from[0];
                    green += from[1];
                    red += from[2];
                }
            }
            return 0xFF000000u | red / count << 16 | green / count << 8 | blue / count;
        }

        private static int BytesPerPixel(PixelFormat format)
        {
            switch (format)
            {
                case PixelFormat.Gray8:
                    return 1;
                case PixelFormat.Bgr24:
                case PixelFormat.Rgb24:
                    return 3;
                case PixelFormat.Bgra32:
                case PixelFormat.Rgba32:
                    return 4;
                default:
                    throw new NotSupportedException(format + ": convert the picture to Bgr24 first");
            }
        }

        private void DropView()
        {
            if (_view != null)
            {
                _view.Dispose();
                _view = null;
            }
        }

        private void Free()
        {
            if (_memory != IntPtr.Zero)
            {
                Marshal.FreeHGlobal(_memory);
                GC.RemoveMemoryPressure(_capacity);
            }
            _memory = IntPtr.Zero;
            _capacity = 0;
        }
    }
}
