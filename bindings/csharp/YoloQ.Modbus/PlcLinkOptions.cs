// SPDX-License-Identifier: Apache-2.0
using System;

namespace YoloQ.Modbus
{
    /// <summary>How a link behaves; the defaults suit most lines. Read when the link is made.</summary>
    public sealed class PlcLinkOptions
    {
        /// <summary>The order of the bytes of 32-bit values; default ABCD, high word first.</summary>
        public WordOrder WordOrder { get; set; }

        /// <summary>Server: the unit id that is answered, 0 for all. Client: the PLC's unit id. Default 0 and 1.</summary>
        public byte? Unit { get; set; }

        /// <summary>Does a triggered result wait for the PLC's acknowledgement before the next trigger is taken?
        /// Default true.</summary>
        public bool RequireAcknowledge { get; set; } = true;

        /// <summary>A result not acknowledged for this long is taken back (error 2); default 5 s, zero: never.</summary>
        public TimeSpan AcknowledgeTimeout { get; set; } = TimeSpan.FromSeconds(5);

        /// <summary>A trigger without a result for this long is answered with error 1; default 10 s, zero: never.</summary>
        public TimeSpan InspectionTimeout { get; set; } = TimeSpan.FromSeconds(10);

        /// <summary>How often the heartbeat counts; default 0.5 s.</summary>
        public TimeSpan HeartbeatInterval { get; set; } = TimeSpan.FromMilliseconds(500);

        /// <summary>Server: most connections at once; default 16.</summary>
        public int MaxConnections { get; set; } = 16;

        /// <summary>Server: a silent connection is closed after this; default 60 s, zero: never.</summary>
        public TimeSpan IdleTimeout { get; set; } = TimeSpan.FromSeconds(60);

        /// <summary>Client: how often the PLC's control register is read; default 20 ms.</summary>
        public TimeSpan PollInterval { get; set; } = TimeSpan.FromMilliseconds(20);

        /// <summary>Client: how long connecting, or an answer of the PLC, may take; default 1 s.</summary>
        public TimeSpan RequestTimeout { get; set; } = TimeSpan.FromSeconds(1);

        /// <summary>Client: the PLC's holding register, 0-based, where register 0 of the map goes; default 0.</summary>
        public int ResultAddress { get; set; }

        /// <summary>Client: the PLC's holding register, 0-based, where `control` stands; default 128.</summary>
        public int ControlAddress { get; set; } = ResultMap.Control;

        internal HandshakeRules Rules()
        {
            return new HandshakeRules
            {
                Order = WordOrder,
                RequireAcknowledge = RequireAcknowledge,
                AcknowledgeMilliseconds = (long)AcknowledgeTimeout.TotalMilliseconds,
                InspectionMilliseconds = (long)InspectionTimeout.TotalMilliseconds
            };
        }

        internal void Check()
        {
            Range("ResultAddress", ResultAddress, 0, 65536 - ResultMap.Control);
            Range("ControlAddress", ControlAddress, 0, 65536 - ResultMap.ControlCount);
            Range("MaxConnections", MaxConnections, 1, 1000);
            Range("HeartbeatInterval (ms)", HeartbeatInterval.TotalMilliseconds, 10, 60000);
            Range("PollInterval (ms)", PollInterval.TotalMilliseconds, 1, 60000);
            Range("RequestTimeout (ms)", RequestTimeout.TotalMilliseconds, 1, 600000);
            Range("AcknowledgeTimeout (ms)", AcknowledgeTimeout.TotalMilliseconds, 0, int.MaxValue);
            Range("InspectionTimeout (ms)", InspectionTimeout.TotalMilliseconds, 0, int.MaxValue);
            bool apart = ControlAddress >= ResultAddress + ResultMap.ClassCounts + ResultMap.MaxClasses
                || ControlAddress + ResultMap.ControlCount <= ResultAddress;
            if (!apart)
            {
                throw new ArgumentException("ControlAddress " + ControlAddress + " lies within the results, which take "
                    + (ResultMap.ClassCounts + ResultMap.MaxClasses) + " registers from " + ResultAddress);
            }
        }

        private static void Range(string name, double value, double low, double high)
        {
            if (!(value >= low && value <= high))
            {
                throw new ArgumentOutOfRangeException(name, name + " is " + value + ": it must be " + low + " to " + high);
            }
        }
    }
}
