// SPDX-License-Identifier: Apache-2.0
using System;

namespace YoloQ.WinForms.Model
{
    public enum AlarmState
    {
        /// <summary>Nothing is wrong.</summary>
        Clear = 0,
        /// <summary>Something is wrong and nobody has confirmed it: red.</summary>
        Active = 1
    }

    /// <summary>
    /// The lamp's memory. A latched alarm stays until somebody acknowledges it; an unlatched one follows the pictures.
    /// A fault of the machine always latches. Thread-safe.
    /// </summary>
    public sealed class Alarm
    {
        private readonly object _gate = new object();
        private AlarmState _state;
        private bool _fault;
        private int _pending;
        private DateTime _since;

        public bool Latched { get; set; } = true;

        public AlarmState State { get { lock (_gate) { return _state; } } }
        /// <summary>true: the machine is at fault, not the part.</summary>
        public bool Fault { get { lock (_gate) { return _fault; } } }
        /// <summary>NG pictures and faults since the last acknowledgement.</summary>
        public int Pending { get { lock (_gate) { return _pending; } } }
        /// <summary>When the alarm began; meaningless if it is clear.</summary>
        public DateTime Since { get { lock (_gate) { return _since; } } }

        /// <summary>A picture was judged.</summary>
        public void Judged(bool ok)
        {
            lock (_gate)
            {
                if (!ok)
                {
                    Raise();
                }
                else if (!Latched && !_fault)
                {
                    Lower();
                }
            }
        }

        /// <summary>The machine failed.</summary>
        public void Failed()
        {
            lock (_gate)
            {
                Raise();
                _fault = true;
            }
        }

        /// <summary>Somebody has seen it. Returns false if there was nothing to see.</summary>
        public bool Acknowledge()
        {
            lock (_gate)
            {
                bool active = _state == AlarmState.Active;
                Lower();
                return active;
            }
        }

        private void Raise()
        {
            if (_state == AlarmState.Clear)
            {
                _since = DateTime.Now;
            }
            _state = AlarmState.Active;
            _pending++;
        }

        private void Lower()
        {
            _state = AlarmState.Clear;
            _fault = false;
            _pending = 0;
        }
    }
}
