// SPDX-License-Identifier: Apache-2.0
using System;
using YoloQ.WinForms.Model;

namespace YoloQ.WinForms.Inspection
{
    /// <summary>A picture and what was found in it. Reused; belongs to one thread at a time.</summary>
    public sealed class InspectedFrame : IDisposable
    {
        private const int PreviewSide = 1600;

        public readonly PixelBuffer Pixels = new PixelBuffer();
        /// <summary>A smaller copy of a large picture, so that drawing it takes milliseconds; empty for a small one.</summary>
        public readonly PixelBuffer Preview = new PixelBuffer();
        public readonly Verdict Verdict = new Verdict();
        public Detection[] Found = new Detection[0];
        public int Count;
        /// <summary>false: no detector was loaded, or it failed.</summary>
        public bool Inspected;
        /// <summary>Why the detector failed; null if it did not.</summary>
        public string Error;
        public long Sequence;
        public string Name = "";
        public DateTime Time;
        public Timings Timings;
        public float TotalMs;

        /// <summary>How many times smaller the preview is, 1 if there is none.</summary>
        public int PreviewFactor { get; private set; } = 1;

        public void CopyFrom(InspectedFrame other)
        {
            Pixels.CopyFrom(other.Pixels);
            other.Verdict.CopyTo(Verdict);
            if (Found.Length < other.Found.Length)
            {
                Found = new Detection[other.Found.Length];
            }
            Array.Copy(other.Found, Found, other.Count);
            Count = other.Count;
            Inspected = other.Inspected;
            Error = other.Error;
            Sequence = other.Sequence;
            Name = other.Name;
            Time = other.Time;
            Timings = other.Timings;
            TotalMs = other.TotalMs;
        }

        public void MakePreview()
        {
            int side = Math.Max(Pixels.Width, Pixels.Height);
            PreviewFactor = Math.Max(1, (side + PreviewSide - 1) / PreviewSide);
            if (PreviewFactor > 1)
            {
                Preview.Reduce(Pixels, PreviewFactor);
            }
        }

        public void Dispose()
        {
            Pixels.Dispose();
            Preview.Dispose();
        }
    }

    /// <summary>
    /// Hands the newest frame from the worker to the screen. Each side always holds a frame of its own and a third lies
    /// between them, so neither waits for the other and a frame that is being drawn is never written.
    /// </summary>
    public sealed class FrameExchange : IDisposable
    {
        private readonly object _gate = new object();
        private InspectedFrame _back = new InspectedFrame();
        private InspectedFrame _ready = new InspectedFrame();
        private InspectedFrame _front = new InspectedFrame();
        private bool _fresh;

        /// <summary>The worker's, to fill.</summary>
        public InspectedFrame Back
        {
            get { return _back; }
        }

        /// <summary>The screen's, to draw.</summary>
        public InspectedFrame Front
        {
            get { return _front; }
        }

        /// <summary>Worker: the back frame is complete. A frame nobody took is replaced.</summary>
        public void Publish()
        {
            lock (_gate)
            {
                InspectedFrame frame = _back;
                _back = _ready;
                _ready = frame;
                _fresh = true;
            }
        }

        /// <summary>Screen: makes the newest frame the front; false if there is none newer.</summary>
        public bool Take()
        {
            lock (_gate)
            {
                if (!_fresh)
                {
                    return false;
                }
                InspectedFrame frame = _front;
                _front = _ready;
                _ready = frame;
                _fresh = false;
                return true;
            }
        }

        /// <summary>When both sides have ended.</summary>
        public void Dispose()
        {
            _back.Dispose();
            _ready.Dispose();
            _front.Dispose();
        }
    }
}
