// SPDX-License-Identifier: Apache-2.0
using System;
using YoloQ.Native;

namespace YoloQ
{
    /// <summary>How pixels lie in memory; the names give the order of the bytes. Numbers of yq_format.</summary>
    public enum PixelFormat
    {
        /// <summary>One byte per pixel.</summary>
        Gray8 = 1,
        /// <summary>Blue, green, red: a 24-bit Windows bitmap.</summary>
        Bgr24 = 2,
        /// <summary>Red, green, blue.</summary>
        Rgb24 = 3,
        /// <summary>Blue, green, red, alpha (ignored): a 32-bit Windows bitmap.</summary>
        Bgra32 = 4,
        /// <summary>Red, green, blue, alpha (ignored).</summary>
        Rgba32 = 5,
        /// <summary>A Y plane and a plane of interleaved U and V of half its size; even sides only.</summary>
        Nv12 = 6
    }

    /// <summary>How NV12 becomes RGB. Numbers of yq_color_space.</summary>
    public enum ColorSpace
    {
        /// <summary>BT.601, limited range (16 to 235): most cameras and decoders.</summary>
        Default = 0,
        /// <summary>BT.601, full range (JPEG).</summary>
        Bt601Full = 1,
        /// <summary>BT.709, limited range.</summary>
        Bt709Limited = 2,
        /// <summary>BT.709, full range.</summary>
        Bt709Full = 3
    }

    /// <summary>A part of a picture, in pixels. All 0: the whole picture.</summary>
    public struct Roi
    {
        /// <summary>The left column, from 0.</summary>
        public int X;
        /// <summary>The top row, from 0.</summary>
        public int Y;
        /// <summary>In pixels.</summary>
        public int Width;
        /// <summary>In pixels.</summary>
        public int Height;

        /// <summary>Makes a region.</summary>
        public Roi(int x, int y, int width, int height)
        {
            X = x;
            Y = y;
            Width = width;
            Height = height;
        }
    }

    /// <summary>A picture in someone else's memory: an address, a size, a format. Nothing is copied. The memory must stay
    /// valid and unchanged until the call that reads it returns (for DetectAsync: until its task ends); YoloQ does not read
    /// it after that, a timeout included. YoloQ cannot know how much memory is there: a wrong size or stride of an IntPtr
    /// picture reads foreign memory. The overloads for arrays and bitmaps check it.</summary>
    public struct ImageView
    {
        /// <summary>Describes a picture.</summary>
        /// <param name="data">address of the first byte of the top row</param>
        /// <param name="width">in pixels, 1 to 16384</param>
        /// <param name="height">in pixels, 1 to 16384</param>
        /// <param name="format">how the pixels lie in memory</param>
        /// <param name="stride">bytes from a row to the row below it; 0: packed; negative: bottom-up memory, with `data` at
        /// the last row in memory</param>
        public ImageView(IntPtr data, int width, int height, PixelFormat format, long stride = 0) : this()
        {
            Data = data;
            Width = width;
            Height = height;
            Format = format;
            Stride = stride;
        }

        /// <summary>Address of the first byte of the top row.</summary>
        public IntPtr Data { get; set; }
        /// <summary>In pixels.</summary>
        public int Width { get; set; }
        /// <summary>In pixels.</summary>
        public int Height { get; set; }
        /// <summary>How the pixels lie in memory.</summary>
        public PixelFormat Format { get; set; }
        /// <summary>Bytes from a row to the row below it; 0: packed; negative: bottom-up.</summary>
        public long Stride { get; set; }
        /// <summary>NV12 alone: address of the top row of the UV plane.</summary>
        public IntPtr Data2 { get; set; }
        /// <summary>NV12 alone: bytes per row of the UV plane; 0: packed.</summary>
        public long Stride2 { get; set; }
        /// <summary>Look only here; all 0: the whole picture. Results are in pixels of the whole picture.</summary>
        public Roi Region { get; set; }
        /// <summary>NV12 alone: how it becomes RGB.</summary>
        public ColorSpace ColorSpace { get; set; }

        internal unsafe yq_image ToNative()
        {
            Roi region = Region;
            return new yq_image
            {
                size = (uint)sizeof(yq_image),
                format = (int)Format,
                width = Width,
                height = Height,
                data = Data,
                stride = Stride,
                data2 = Data2,
                stride2 = Stride2,
                roi_x = region.X,
                roi_y = region.Y,
                roi_width = region.Width,
                roi_height = region.Height,
                color_space = (int)ColorSpace
            };
        }
    }
}
