// SPDX-License-Identifier: Apache-2.0
using System.Collections.Generic;
using System.Collections.ObjectModel;
using YoloQ.Native;

namespace YoloQ
{
    /// <summary>What a detector is. Immutable.</summary>
    public sealed class ModelInfo
    {
        internal unsafe ModelInfo(yq_info info, string[] classNames)
        {
            FormatVersion = (int)info.format;
            Name = Utf8.Text(info.name, 64);
            Task = Utf8.Text(info.task, 16);
            Precision = Utf8.Text(info.precision, 16);
            Chip = Utf8.Text(info.chip, 32);
            Backend = Utf8.Text(info.backend, 32);
            BackendVersion = Utf8.Text(info.backend_version, 64);
            Device = Utf8.Text(info.device, 32);
            InputWidth = info.input_width;
            InputHeight = info.input_height;
            InputChannels = info.input_channels;
            Streams = (int)info.streams;
            Batch = (int)info.batch;
            NeedsNms = info.needs_nms != 0;
            ScoreThreshold = info.score_threshold;
            IouThreshold = info.iou_threshold;
            MaxDetections = (int)info.max_detections;
            NativeTimeout = info.timeout_ms;
            ClassNames = new ReadOnlyCollection<string>(classNames);
        }

        /// <summary>The package format's version.</summary>
        public int FormatVersion { get; private set; }
        /// <summary>The model's name.</summary>
        public string Name { get; private set; }
        /// <summary>"detect".</summary>
        public string Task { get; private set; }
        /// <summary>"int8", "float32", ...</summary>
        public string Precision { get; private set; }
        /// <summary>The chip that the package was compiled for.</summary>
        public string Chip { get; private set; }
        /// <summary>The backend that runs it.</summary>
        public string Backend { get; private set; }
        /// <summary>The backend's SDK and its version.</summary>
        public string BackendVersion { get; private set; }
        /// <summary>The device that it runs on.</summary>
        public string Device { get; private set; }
        /// <summary>Of the model's input, in pixels. Pictures may have any size.</summary>
        public int InputWidth { get; private set; }
        /// <summary>Of the model's input, in pixels.</summary>
        public int InputHeight { get; private set; }
        /// <summary>Of the model's input.</summary>
        public int InputChannels { get; private set; }
        /// <summary>Calls that run at once.</summary>
        public int Streams { get; private set; }
        /// <summary>Pictures per run of the compiled model.</summary>
        public int Batch { get; private set; }
        /// <summary>Whether the library suppresses double boxes; if not, the model does, and IouThreshold is unused.</summary>
        public bool NeedsNms { get; private set; }
        /// <summary>Detections below are dropped.</summary>
        public float ScoreThreshold { get; private set; }
        /// <summary>Of two boxes of a class that overlap more, the weaker is dropped.</summary>
        public float IouThreshold { get; private set; }
        /// <summary>The most detections per picture.</summary>
        public int MaxDetections { get; private set; }
        /// <summary>A call's deadline in ms, queueing included; Timeout.Infinite (-1): none.</summary>
        public int TimeoutMilliseconds
        {
            get { return NativeTimeout > int.MaxValue ? System.Threading.Timeout.Infinite : (int)NativeTimeout; }
        }
        /// <summary>The names of the classes, by Detection.ClassId.</summary>
        public IReadOnlyList<string> ClassNames { get; private set; }

        internal uint NativeTimeout { get; private set; }
    }
}
