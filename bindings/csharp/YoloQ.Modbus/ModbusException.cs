// SPDX-License-Identifier: Apache-2.0
using System;

namespace YoloQ.Modbus
{
    /// <summary>What Modbus can fail with; the message is one sentence that says what to look at.</summary>
    public class ModbusException : Exception
    {
        /// <summary>Makes one.</summary>
        /// <param name="message">One sentence.</param>
        /// <param name="inner">The cause, or null.</param>
        public ModbusException(string message, Exception inner = null) : base(message, inner)
        {
        }
    }

    /// <summary>No connection, or it broke: the next call after the back-off tries again.</summary>
    public sealed class ModbusConnectionException : ModbusException
    {
        /// <summary>Makes one.</summary>
        /// <param name="message">One sentence.</param>
        /// <param name="inner">The cause, or null.</param>
        public ModbusConnectionException(string message, Exception inner = null) : base(message, inner)
        {
        }
    }

    /// <summary>The peer did not answer in time. The connection stays; a late answer is dropped.</summary>
    public sealed class ModbusTimeoutException : ModbusException
    {
        /// <summary>Makes one.</summary>
        /// <param name="message">One sentence.</param>
        public ModbusTimeoutException(string message) : base(message)
        {
        }
    }

    /// <summary>The peer answered with an exception code.</summary>
    public sealed class ModbusResponseException : ModbusException
    {
        /// <summary>The code: 1 illegal function, 2 illegal address, 3 illegal value, 4 device failure, 11 no such unit.</summary>
        public byte Code { get; }

        /// <summary>The function that was asked for.</summary>
        public byte Function { get; }

        /// <summary>Makes one.</summary>
        /// <param name="function">The function that was asked for.</param>
        /// <param name="code">The peer's exception code.</param>
        public ModbusResponseException(byte function, byte code)
            : base("the peer refused function " + function + " with exception " + code + " (" + Text(code) + ")")
        {
            Function = function;
            Code = code;
        }

        private static string Text(byte code)
        {
            switch (code)
            {
                case 1: return "it does not have this function";
                case 2: return "it does not have these addresses, or they are read-only";
                case 3: return "it does not accept this value or quantity";
                case 4: return "it failed while working";
                case 5: return "it needs long";
                case 6: return "it is busy";
                case 10: return "its gateway has no path";
                case 11: return "no device has this unit id";
                default: return "unknown";
            }
        }
    }
}
