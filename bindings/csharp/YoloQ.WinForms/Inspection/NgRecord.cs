// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using System.Runtime.Serialization;
using YoloQ.WinForms.Model;

namespace YoloQ.WinForms.Inspection
{
    /// <summary>What is written as JSON beside an NG picture.</summary>
    [DataContract]
    public sealed class NgRecord
    {
        [DataMember(Order = 0, Name = "picture")] public string Picture;
        /// <summary>Local time with its offset, ISO 8601.</summary>
        [DataMember(Order = 1, Name = "time")] public string Time;
        [DataMember(Order = 2, Name = "sequence")] public long Sequence;
        [DataMember(Order = 3, Name = "source")] public string Source;
        [DataMember(Order = 4, Name = "model")] public string Model;
        [DataMember(Order = 5, Name = "width")] public int Width;
        [DataMember(Order = 6, Name = "height")] public int Height;
        [DataMember(Order = 7, Name = "score_threshold")] public float ScoreThreshold;
        [DataMember(Order = 8, Name = "iou_threshold")] public float IouThreshold;
        [DataMember(Order = 9, Name = "broken_rules")] public List<string> BrokenRules;
        [DataMember(Order = 10, Name = "detections")] public List<NgDetection> Detections;
        [DataMember(Order = 11, Name = "total_ms")] public float TotalMs;

        public static NgRecord Of(InspectedFrame frame, InspectionContext context)
        {
            return new NgRecord
            {
                Time = new DateTimeOffset(frame.Time).ToString("yyyy-MM-dd'T'HH:mm:ss.fffzzz", CultureInfo.InvariantCulture),
                Sequence = frame.Sequence,
                Source = frame.Name,
                Model = context.Model,
                Width = frame.Pixels.Width,
                Height = frame.Pixels.Height,
                ScoreThreshold = context.ScoreThreshold,
                IouThreshold = context.IouThreshold,
                BrokenRules = frame.Verdict.Broken.Select(rule => context.Rules[rule].ToString()).ToList(),
                Detections = frame.Found.Take(frame.Count).Select(found => NgDetection.Of(found, context.ClassNames)).ToList(),
                TotalMs = frame.TotalMs
            };
        }
    }

    /// <summary>One object: box in pixels of the picture, angle in radians.</summary>
    [DataContract]
    public sealed class NgDetection
    {
        [DataMember(Order = 0, Name = "class_id")] public int ClassId;
        [DataMember(Order = 1, Name = "class_name")] public string ClassName;
        [DataMember(Order = 2, Name = "score")] public float Score;
        [DataMember(Order = 3, Name = "box")] public float[] Box;
        [DataMember(Order = 4, Name = "angle")] public float Angle;

        public static NgDetection Of(Detection found, IReadOnlyList<string> names)
        {
            return new NgDetection
            {
                ClassId = found.ClassId,
                ClassName = found.ClassId >= 0 && found.ClassId < names.Count ? names[found.ClassId] : "",
                Score = found.Score,
                Box = new[] { found.X1, found.Y1, found.X2, found.Y2 },
                Angle = found.Angle
            };
        }
    }

    /// <summary>What held when a picture was judged. Immutable.</summary>
    public sealed class InspectionContext
    {
        public InspectionContext(string model, IReadOnlyList<string> classNames, RuleBook rules, float score, float iou)
        {
            Model = model;
            ClassNames = classNames;
            Rules = rules;
            ScoreThreshold = score;
            IouThreshold = iou;
        }

        public string Model { get; private set; }
        public IReadOnlyList<string> ClassNames { get; private set; }
        public RuleBook Rules { get; private set; }
        public float ScoreThreshold { get; private set; }
        public float IouThreshold { get; private set; }
    }
}
