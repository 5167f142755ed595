// SPDX-License-Identifier: Apache-2.0
using System;
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Threading;
using System.Threading.Tasks;
using YoloQ.Native;

namespace YoloQ
{
    public sealed partial class Detector
    {
        private readonly DetectionQueue _queue;

        /// <summary>As Detect, without blocking the caller. Detections run on threads of this detector's own, as many as it
        /// has streams, in the order of the calls; the thread pool is left alone.</summary>
        /// <param name="image">borrowed until the task ends</param>
        /// <param name="settings">for this call; the deadline begins now and includes waiting in the queue</param>
        /// <param name="cancellation">A detection that waits is cancelled at once and its picture never read. One that runs
        /// finishes (no device can be stopped halfway) and the task gives its result: when the task ends, the picture is
        /// free in every case.</param>
        public Task<DetectionResult> DetectAsync(ImageView image, DetectSettings settings = default(DetectSettings),
            CancellationToken cancellation = default(CancellationToken))
        {
            yq_call call = NewCall(settings);
            int capacity = Capacity(settings);
            if (call.timeout_ms == 0) call.timeout_ms = Info.NativeTimeout;
            var clock = Stopwatch.StartNew();
            return _queue.Run(() => RunQueued(image, call, capacity, clock), cancellation);
        }

        /// <summary>As Detect for an array, without blocking the caller; see the other overload.</summary>
        /// <param name="pixels">not to be changed until the task ends</param>
        /// <param name="width">in pixels</param>
        /// <param name="height">in pixels</param>
        /// <param name="format">how the pixels lie in memory</param>
        /// <param name="stride">bytes from a row to the next; 0: packed; negative: bottom-up</param>
        /// <param name="region">look only here; default: the whole picture</param>
        /// <param name="settings">for this call; default: the detector's</param>
        /// <param name="cancellation">cancels a detection that waits</param>
        public Task<DetectionResult> DetectAsync(byte[] pixels, int width, int height, PixelFormat format, int stride = 0,
            Roi region = default(Roi), DetectSettings settings = default(DetectSettings),
            CancellationToken cancellation = default(CancellationToken))
        {
            if (pixels == null) throw new ArgumentNullException("pixels");
            PixelBlock.View(IntPtr.Zero, pixels.LongLength, width, height, format, stride); // wrong arguments throw here
            return DetectPinned(pixels, width, height, format, stride, region, settings, cancellation);
        }

        private async Task<DetectionResult> DetectPinned(byte[] pixels, int width, int height, PixelFormat format,
            int stride, Roi region, DetectSettings settings, CancellationToken cancellation)
        {
            GCHandle pin = GCHandle.Alloc(pixels, GCHandleType.Pinned);
            try
            {
                ImageView view = PixelBlock.View(pin.AddrOfPinnedObject(), pixels.LongLength, width, height, format, stride);
                view.Region = region;
                return await DetectAsync(view, settings, cancellation).ConfigureAwait(false);
            }
            finally
            {
                pin.Free();
            }
        }

        /// <summary>On a thread of the queue: what is left of the deadline is the native call's.</summary>
        private DetectionResult RunQueued(ImageView image, yq_call call, int capacity, Stopwatch clock)
        {
            double waited = clock.Elapsed.TotalMilliseconds;
            if (call.timeout_ms != DetectSettings.NoTimeout)
            {
                if (waited >= call.timeout_ms)
                    throw new DetectionTimeoutException("the deadline of " + call.timeout_ms + " ms passed while the "
                        + "detection waited for others: allow more time, or send fewer pictures");
                call.timeout_ms = (uint)Math.Max(1, call.timeout_ms - waited);
            }
            return Run(image, ref call, capacity, (float)waited);
        }
    }
}
