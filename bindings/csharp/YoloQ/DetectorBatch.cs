// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using YoloQ.Native;

namespace YoloQ
{
    public sealed partial class Detector
    {
        /// <summary>Finds the objects of several pictures of any sizes and formats, keeping all free streams busy. One
        /// deadline for all.</summary>
        /// <param name="images">borrowed for the call</param>
        /// <param name="settings">for this call; default: the detector's</param>
        /// <returns>one result per picture, in order</returns>
        /// <exception cref="BatchException">pictures failed; it holds the results of the others</exception>
        /// <exception cref="InvalidArgumentException">a setting is impossible; nothing has run</exception>
        public DetectionResult[] DetectBatch(IReadOnlyList<ImageView> images,
            DetectSettings settings = default(DetectSettings))
        {
            if (images == null) throw new ArgumentNullException("images");
            yq_call call = NewCall(settings);
            if (images.Count == 0) return new DetectionResult[0];
            var natives = new yq_image[images.Count];
            for (int i = 0; i < natives.Length; ++i) natives[i] = images[i].ToNative();
            int capacity = Capacity(settings);
            Detection[] buffer = _batchBuffers.Rent(checked(natives.Length * capacity));
            try
            {
                return RunBatch(natives, ref call, buffer, capacity);
            }
            finally
            {
                _batchBuffers.Return(buffer);
            }
        }

        private unsafe DetectionResult[] RunBatch(yq_image[] natives, ref yq_call call, Detection[] buffer, int capacity)
        {
            var counts = new uint[natives.Length];
            var statuses = new int[natives.Length];
            int status;
            fixed (yq_image* image = natives)
            fixed (Detection* found = buffer)
            fixed (uint* count = counts)
            fixed (int* each = statuses)
                status = NativeMethods.yq_infer_batch(_handle.Open(), image, (uint)natives.Length, ref call, found,
                    (uint)capacity, count, each);
            YoloException failure = status == 0 ? null : YoloException.LastError(status);
            if (failure != null && !Array.Exists(statuses, one => one != 0)) throw failure; // the call, not a picture
            var results = new DetectionResult[natives.Length];
            for (int i = 0; i < results.Length; ++i)
                if (statuses[i] == 0)
                    results[i] = Result(buffer, i * capacity, (int)counts[i], (int)counts[i], default(Timings));
            if (failure != null) throw BatchFailure(failure, results, statuses);
            return results;
        }

        /// <summary>The library keeps the first failing picture's reason; of the others it tells the status.</summary>
        private static BatchException BatchFailure(YoloException failure, DetectionResult[] results, int[] statuses)
        {
            var errors = new Dictionary<int, YoloException>();
            int first = -1;
            for (int i = 0; i < statuses.Length; ++i)
            {
                if (statuses[i] == 0) continue;
                if (first < 0) first = i;
                errors[i] = first == i ? failure : YoloException.From(statuses[i], YoloException.StatusName(statuses[i]));
            }
            string text = errors.Count + " of " + statuses.Length + " pictures failed; picture " + first + ": "
                + failure.Message;
            return new BatchException(text, failure, results, errors);
        }
    }
}
