// SPDX-License-Identifier: Apache-2.0
using System;
using System.Linq;

namespace YoloQ.Modbus
{
    /// <summary>Client mode: brings the PLC's control registers into the bank, and the bank's results into the PLC.</summary>
    internal sealed class PlcMirror : IDisposable
    {
        private readonly ModbusClient client;
        private readonly RegisterBank bank;
        private readonly int resultAddress;
        private readonly int controlAddress;
        private ushort[] control;
        private ushort[] head;  // what the PLC is known to hold; null: nothing is known
        private ushort[] body;

        internal PlcMirror(ModbusClient client, RegisterBank bank, int resultAddress, int controlAddress)
        {
            this.client = client;
            this.bank = bank;
            this.resultAddress = resultAddress;
            this.controlAddress = controlAddress;
        }

        /// <summary>One round. After a failure, the next round that gets through writes everything.</summary>
        internal void Exchange()
        {
            try
            {
                ushort[] asked = client.ReadHoldingRegisters(controlAddress, ResultMap.ControlCount);
                if (control == null || !asked.SequenceEqual(control))
                {
                    control = asked;
                    bank.TryWrite(ResultMap.Control, asked, this);
                }
                Push();
            }
            catch (ModbusException)
            {
                head = body = null;
                throw;
            }
        }

        public void Dispose()
        {
            client.Dispose();
        }

        // The body first: when the PLC sees `valid` in the head, the result is already there.
        private void Push()
        {
            ushort[] all = bank.Read(0, ResultMap.ClassCounts + ResultMap.MaxClasses);
            ushort[] newHead = all.Take(ResultMap.HeadCount).ToArray();
            int count = ResultMap.ClassCounts + all[ResultMap.ClassCount];
            ushort[] newBody = all.Skip(ResultMap.HeadCount).Take(count - ResultMap.HeadCount).ToArray();
            if (body == null || !newBody.SequenceEqual(body))
            {
                client.WriteMultipleRegisters(resultAddress + ResultMap.HeadCount, newBody);
                body = newBody;
            }
            if (head == null || !newHead.SequenceEqual(head))
            {
                client.WriteMultipleRegisters(resultAddress, newHead);
                head = newHead;
            }
        }
    }
}
