// SPDX-License-Identifier: Apache-2.0
namespace YoloQ.Modbus
{
    /// <summary>The MBAP header of Modbus TCP: transaction (2 bytes), protocol 0 (2), length of what follows (2), unit (1).</summary>
    internal static class Frame
    {
        internal const int HeaderSize = 7;
        internal const int MaxPdu = 253;
        internal const int MaxSize = HeaderSize + MaxPdu;

        internal static ushort Get(byte[] data, int at)
        {
            return (ushort)((data[at] << 8) | data[at + 1]);
        }

        internal static void Put(byte[] data, int at, int value)
        {
            data[at] = (byte)(value >> 8);
            data[at + 1] = (byte)value;
        }

        /// <summary>The size of the frame at `start`: 0 if more bytes are needed, -1 if this is no Modbus TCP.</summary>
        internal static int Size(byte[] data, int start, int available)
        {
            if (available >= 4 && Get(data, start + 2) != 0)
            {
                return -1;
            }
            if (available < 6)
            {
                return 0;
            }
            int length = Get(data, start + 4);
            if (length < 2 || length > MaxPdu + 1)
            {
                return -1;
            }
            return available < 6 + length ? 0 : 6 + length;
        }

        internal static void PutHeader(byte[] data, int at, int transaction, int pduLength, byte unit)
        {
            Put(data, at, transaction);
            Put(data, at + 2, 0);
            Put(data, at + 4, pduLength + 1);
            data[at + 6] = unit;
        }
    }

    internal static class Function
    {
        internal const byte ReadCoils = 1;
        internal const byte ReadDiscreteInputs = 2;
        internal const byte ReadHoldingRegisters = 3;
        internal const byte ReadInputRegisters = 4;
        internal const byte WriteSingleCoil = 5;
        internal const byte WriteSingleRegister = 6;
        internal const byte WriteMultipleCoils = 15;
        internal const byte WriteMultipleRegisters = 16;
    }

    /// <summary>Quantities that one request may carry.</summary>
    internal static class Limit
    {
        internal const int ReadBits = 2000;
        internal const int ReadRegisters = 125;
        internal const int WriteBits = 1968;
        internal const int WriteRegisters = 123;
    }
}
