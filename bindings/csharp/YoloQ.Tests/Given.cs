// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Runtime.InteropServices;

namespace YoloQ.Tests
{
    /// <summary>What the tests work on: packages, a picture, and what the Python binding found in it. A file of lines
    /// `name=value` that the test driver wrote.</summary>
    internal static class Given
    {
        private static readonly Dictionary<string, string> Values = new Dictionary<string, string>();
        private static Detector _demo;

        internal static void Read(string file)
        {
            foreach (string line in File.ReadAllLines(file))
            {
                int at = line.IndexOf('=');
                Values[line.Substring(0, at)] = line.Substring(at + 1);
            }
            Width = Number("width");
            Height = Number("height");
            Pixels = File.ReadAllBytes(Text("pixels"));
            Tolerance = float.Parse(Text("tolerance"), CultureInfo.InvariantCulture);
            // For pictures by address: never moves, lives as long as the process.
            Memory = GCHandle.Alloc(Pixels, GCHandleType.Pinned).AddrOfPinnedObject();
        }

        internal static int Width { get; private set; }
        internal static int Height { get; private set; }
        /// <summary>The picture, BGR, packed.</summary>
        internal static byte[] Pixels { get; private set; }
        internal static IntPtr Memory { get; private set; }
        /// <summary>How far scores may be from Linux's.</summary>
        internal static float Tolerance { get; private set; }

        internal static string Text(string name)
        {
            return Values[name];
        }

        internal static int Number(string name)
        {
            return int.Parse(Values[name], CultureInfo.InvariantCulture);
        }

        internal static ImageView View
        {
            get { return new ImageView(Memory, Width, Height, PixelFormat.Bgr24); }
        }

        /// <summary>The demo model, shared by all tests.</summary>
        internal static Detector Demo
        {
            get { return _demo ?? (_demo = new Detector(Text("demo"))); }
        }

        /// <summary>A detector on the dummy backend, whose findings depend on the picture's bytes.</summary>
        internal static Detector Dummy(string package = "dummy", int streams = 0, TimeSpan? timeout = null)
        {
            return new Detector(Text(package), new DetectorOptions { Backend = "dummy", Streams = streams, Timeout = timeout });
        }

        /// <summary>What the Python binding found: a file of 32-byte rows.</summary>
        internal static Detection[] Expected(string name)
        {
            byte[] bytes = File.ReadAllBytes(Text("expected." + name));
            var rows = new Detection[bytes.Length / 32];
            GCHandle pin = GCHandle.Alloc(rows, GCHandleType.Pinned);
            if (rows.Length > 0) Marshal.Copy(bytes, 0, pin.AddrOfPinnedObject(), bytes.Length);
            pin.Free();
            return rows;
        }

        /// <summary>The picture in another layout: `order` gives for each byte of a pixel which of B, G, R it is (3: alpha),
        /// rows are `stride` apart, bottom-up if it is negative.</summary>
        internal static byte[] Layout(int[] order, int stride)
        {
            int step = Math.Abs(stride);
            var pixels = new byte[step * Height];
            for (int y = 0; y < Height; ++y)
            {
                int row = (stride < 0 ? Height - 1 - y : y) * step;
                for (int x = 0; x < Width; ++x)
                    for (int c = 0; c < order.Length; ++c)
                        pixels[row + x * order.Length + c] = order[c] == 3 ? (byte)(x * 7) : Pixels[(y * Width + x) * 3 + order[c]];
            }
            return pixels;
        }
    }
}
