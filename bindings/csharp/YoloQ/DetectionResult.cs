// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections;
using System.Collections.Generic;

namespace YoloQ
{
    /// <summary>The objects of one picture, best score first. Immutable, and independent of the detector and the
    /// picture.</summary>
    public sealed class DetectionResult : IReadOnlyList<Detection>
    {
        private readonly Detection[] _detections;

        internal DetectionResult(Detection[] detections, IReadOnlyList<string> classNames, int found, Timings timings)
        {
            _detections = detections;
            ClassNames = classNames;
            Found = found;
            Timings = timings;
        }

        /// <summary>How many objects are here.</summary>
        public int Count { get { return _detections.Length; } }

        /// <summary>The object at a place, from 0.</summary>
        public Detection this[int index] { get { return _detections[index]; } }

        /// <summary>How many there were before DetectSettings.MaxDetections cut them; in a batch, Count.</summary>
        public int Found { get; private set; }

        /// <summary>What this picture took. 0 in a batch, whose times are not known by picture.</summary>
        public Timings Timings { get; private set; }

        /// <summary>The names of the classes, by ClassId.</summary>
        public IReadOnlyList<string> ClassNames { get; private set; }

        /// <summary>The name of a detection's class.</summary>
        public string NameOf(Detection detection)
        {
            return ClassNames[detection.ClassId];
        }

        /// <summary>A copy of the objects.</summary>
        public Detection[] ToArray()
        {
            return (Detection[])_detections.Clone();
        }

        /// <summary>For foreach, without allocating.</summary>
        public Enumerator GetEnumerator()
        {
            return new Enumerator(_detections);
        }

        IEnumerator<Detection> IEnumerable<Detection>.GetEnumerator()
        {
            return GetEnumerator();
        }

        IEnumerator IEnumerable.GetEnumerator()
        {
            return GetEnumerator();
        }

        /// <summary>Steps through a result.</summary>
        public struct Enumerator : IEnumerator<Detection>
        {
            private readonly Detection[] _detections;
            private int _index;

            internal Enumerator(Detection[] detections)
            {
                _detections = detections;
                _index = -1;
            }

            /// <summary>The object at the present place.</summary>
            public Detection Current { get { return _detections[_index]; } }

            object IEnumerator.Current { get { return Current; } }

            /// <summary>Goes to the next object; false at the end.</summary>
            public bool MoveNext()
            {
                return ++_index < _detections.Length;
            }

            /// <summary>Goes back before the first object.</summary>
            public void Reset()
            {
                _index = -1;
            }

            /// <summary>Does nothing.</summary>
            public void Dispose() { }
        }
    }
}
