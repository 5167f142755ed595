// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.Collections.ObjectModel;

namespace YoloQ.Modbus
{
    /// <summary>One entry of the register map.</summary>
    public sealed class MapField
    {
        /// <summary>Its name in docs/modbus.md.</summary>
        public string Name { get; }

        /// <summary>The 0-based address of its first register; 40001 + Address in the other notation.</summary>
        public int Address { get; }

        /// <summary>"uint16", "int16", "uint32", "int32" or "float32".</summary>
        public string Type { get; }

        /// <summary>How many values follow each other.</summary>
        public int Count { get; }

        /// <summary>What one step of the register is worth, e.g. "0.01 px"; empty for a plain number.</summary>
        public string Unit { get; }

        internal MapField(string name, int address, string type, string unit = "", int count = 1)
        {
            Name = name;
            Address = address;
            Type = type;
            Unit = unit;
            Count = count;
        }
    }

    /// <summary>
    /// The register map, version 1: docs/modbus.md is its manual. The same table is in Python, yoloq.serve.map; a test keeps
    /// them, and the manual, equal.
    /// </summary>
    public static class ResultMap
    {
        /// <summary>The version of this map; register `map_version` shows it.</summary>
        public const int Version = 1;

        /// <summary>Registers in a bank of this map.</summary>
        public const int Size = 132;

        /// <summary>How many classes have a counter of their own.</summary>
        public const int MaxClasses = 64;

        /// <summary>Register `control`: the first that the PLC writes.</summary>
        public const int Control = 128;

        /// <summary>How many registers from there the PLC may write.</summary>
        public const int ControlCount = 4;

        /// <summary>Register `order_check` holds this number in the word order in use.</summary>
        public const uint OrderCheck = 0x01020304;

        internal const int HeadCount = 5;  // version, heartbeat, state, status, error: written last by a client
        internal const int Heartbeat = 1, State = 2, Status = 3, Error = 4, ClassCount = 5, Sequence = 6, Verdict = 8;
        internal const int Detections = 9, Latency = 10, BestClass = 11, BestScore = 12, BestAngle = 13, BestX = 14;
        internal const int BestScoreFloat = 22, Inspected = 34, OkTotal = 36, NgTotal = 38, ErrorTotal = 40;
        internal const int MissedTriggers = 42, UnreadResults = 43, Part = 44, OrderCheckAt = 46, SequenceCopy = 48;
        internal const int ClassCounts = 50, PartIn = 130;

        /// <summary>All registers, by address.</summary>
        public static readonly ReadOnlyCollection<MapField> Fields = Array.AsReadOnly(new[]
        {
            new MapField("map_version", 0, "uint16"),
            new MapField("heartbeat", Heartbeat, "uint16"),
            new MapField("state", State, "uint16"),
            new MapField("status", Status, "uint16"),
            new MapField("error", Error, "uint16"),
            new MapField("class_count", ClassCount, "uint16"),
            new MapField("sequence", Sequence, "uint32"),
            new MapField("judgement", Verdict, "uint16"),
            new MapField("detections", Detections, "uint16"),
            new MapField("latency", Latency, "uint16", "0.1 ms"),
            new MapField("best_class", BestClass, "int16"),
            new MapField("best_score", BestScore, "uint16", "0.0001"),
            new MapField("best_angle", BestAngle, "int16", "0.01°"),
            new MapField("best_x", BestX, "int32", "0.01 px"),
            new MapField("best_y", BestX + 2, "int32", "0.01 px"),
            new MapField("best_width", BestX + 4, "int32", "0.01 px"),
            new MapField("best_height", BestX + 6, "int32", "0.01 px"),
            new MapField("best_score_float", BestScoreFloat, "float32"),
            new MapField("best_x_float", BestScoreFloat + 2, "float32", "px"),
            new MapField("best_y_float", BestScoreFloat + 4, "float32", "px"),
            new MapField("best_width_float", BestScoreFloat + 6, "float32", "px"),
            new MapField("best_height_float", BestScoreFloat + 8, "float32", "px"),
            new MapField("best_angle_float", BestScoreFloat + 10, "float32", "°"),
            new MapField("inspected", Inspected, "uint32"),
            new MapField("ok_total", OkTotal, "uint32"),
            new MapField("ng_total", NgTotal, "uint32"),
            new MapField("error_total", ErrorTotal, "uint32"),
            new MapField("missed_triggers", MissedTriggers, "uint16"),
            new MapField("unread_results", UnreadResults, "uint16"),
            new MapField("part", Part, "uint32"),
            new MapField("order_check", OrderCheckAt, "uint32"),
            new MapField("sequence_copy", SequenceCopy, "uint32"),
            new MapField("class_counts", ClassCounts, "uint16", "", MaxClasses),
            new MapField("control", Control, "uint16"),
            new MapField("part_in", PartIn, "uint32")
        });

        /// <summary>The bits of register `status` by number; also discrete inputs 0… and coils 16….</summary>
        public static readonly ReadOnlyCollection<string> StatusBits = Array.AsReadOnly(
            new[] { "ready", "busy", "valid", "ok", "ng", "error", "alarm", "missed", "heartbeat_bit" });

        /// <summary>The bits of register `control` by number; also coils 0….</summary>
        public static readonly ReadOnlyCollection<string> ControlBits = Array.AsReadOnly(
            new[] { "trigger", "acknowledge", "reset_counters", "reset_error" });

        internal const int Ready = 1, Busy = 2, Valid = 4, Ok = 8, Ng = 16, Failed = 32, Alarm = 64, Missed = 128, Beat = 256;
        internal const int Trigger = 1, Acknowledge = 2, ResetCounters = 4, ResetError = 8;

        /// <summary>A bank laid out as this map, with the constants filled in.</summary>
        /// <param name="order">The order of the bytes of 32-bit values.</param>
        public static RegisterBank CreateBank(WordOrder order)
        {
            var bank = new RegisterBank(Size, Control, ControlCount, new[] { Control, Status }, new[] { Status });
            bank[0] = Version;
            bank[BestClass] = 0xFFFF;
            var check = new ushort[2];
            Words.PutUInt32(check, 0, OrderCheck, order);
            bank.Write(OrderCheckAt, check);
            return bank;
        }

        /// <summary>Fills what a result alone decides: counts and best detection. The rest is the handshake's.</summary>
        internal static void Encode(InspectionResult result, ushort[] words, WordOrder order)
        {
            IList<int> counts = result.CountsPerClass ?? new int[0];
            long total = 0;
            for (int i = 0; i < MaxClasses; i++)
            {
                words[ClassCounts + i] = i < counts.Count ? Saturated(counts[i]) : (ushort)0;
            }
            foreach (int count in counts)
            {
                total += Math.Max(0, count);
            }
            words[ClassCount] = (ushort)Math.Min(counts.Count, MaxClasses);
            words[Detections] = Saturated(total);
            BestDetection best = result.Best;
            words[BestClass] = (ushort)(best == null ? -1 : (int)Words.Fixed(best.ClassId, 1, short.MinValue, short.MaxValue));
            best = best ?? new BestDetection();
            words[BestScore] = (ushort)Words.Fixed(best.Score, 10000, 0, ushort.MaxValue);
            words[BestAngle] = (ushort)Words.Fixed(best.AngleDegrees, 100, short.MinValue, short.MaxValue);
            var values = new[] { best.Score, best.X, best.Y, best.Width, best.Height, best.AngleDegrees };
            for (int i = 0; i < values.Length; i++)
            {
                Words.PutFloat(words, BestScoreFloat + 2 * i, values[i], order);
            }
            for (int i = 0; i < 4; i++)
            {
                long hundredths = Words.Fixed(values[1 + i], 100, int.MinValue, int.MaxValue);
                Words.PutUInt32(words, BestX + 2 * i, (uint)(int)hundredths, order);
            }
        }

        internal static ushort Saturated(long value)
        {
            return (ushort)Math.Max(0, Math.Min(ushort.MaxValue, value));
        }
    }
}
