// SPDX-License-Identifier: Apache-2.0
using System;
using System.Globalization;
using System.Runtime.InteropServices;

namespace YoloQ
{
    /// <summary>One object found; 32 bytes, for ever. Coordinates are in pixels of the whole picture, clipped to it (or to
    /// the region); 0 is the left or top edge of the first pixel.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Detection
    {
        /// <summary>Left edge, in pixels.</summary>
        public float X1;
        /// <summary>Top edge, in pixels.</summary>
        public float Y1;
        /// <summary>Right edge, in pixels.</summary>
        public float X2;
        /// <summary>Bottom edge, in pixels.</summary>
        public float Y2;
        /// <summary>How sure the model is, 0 to 1.</summary>
        public float Score;
        /// <summary>The class, from 0; ModelInfo.ClassNames has its name.</summary>
        public int ClassId;
        /// <summary>In radians, clockwise, about the box centre; X1 to Y2 are before the rotation. 0 for upright boxes.</summary>
        public float Angle;
        private readonly uint _reserved;

        /// <summary>Width, in pixels.</summary>
        public float Width { get { return X2 - X1; } }
        /// <summary>Height, in pixels.</summary>
        public float Height { get { return Y2 - Y1; } }
        /// <summary>The centre's column, in pixels.</summary>
        public float CenterX { get { return (X1 + X2) / 2; } }
        /// <summary>The centre's row, in pixels.</summary>
        public float CenterY { get { return (Y1 + Y2) / 2; } }

        /// <summary>For logs: class, score and box.</summary>
        public override string ToString()
        {
            return string.Format(CultureInfo.InvariantCulture, "class {0} {1:0.000} [{2:0.0} {3:0.0} {4:0.0} {5:0.0}]",
                ClassId, Score, X1, Y1, X2, Y2);
        }
    }

    /// <summary>What a detection took, in ms.</summary>
    public struct Timings
    {
        /// <summary>Waiting for a free stream; for DetectAsync also waiting to be called.</summary>
        public float QueueMs;
        /// <summary>Scaling the picture to the model's input.</summary>
        public float PreprocessMs;
        /// <summary>From handing the input to the device until its output is there.</summary>
        public float EngineMs;
        /// <summary>Decoding boxes, suppressing doubles, and mapping back to the picture.</summary>
        public float DecodeMs;

        /// <summary>The sum.</summary>
        public float TotalMs { get { return QueueMs + PreprocessMs + EngineMs + DecodeMs; } }

        /// <summary>For logs.</summary>
        public override string ToString()
        {
            return string.Format(CultureInfo.InvariantCulture,
                "queue {0:0.00} ms, preprocess {1:0.00} ms, engine {2:0.00} ms, decode {3:0.00} ms",
                QueueMs, PreprocessMs, EngineMs, DecodeMs);
        }
    }
}
